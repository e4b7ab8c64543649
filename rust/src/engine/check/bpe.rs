//! BPE: looks up the characters of a word, byte tokens, the unknown token, the whole word, and what merges make of neighbours.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::vocabulary::Vocabulary;
use super::{Model, Needed, Reduced, is_byte, parse, raw};
use crate::engine::definition::{Entry, field};

/// The model with the entries that are needed, and the merges that can happen, in their order.
///
/// A merge makes a substring of the word, unless a part of it is a byte or the unknown token, whose content is not what stands in the
/// word: a model that merges these is not reduced.
pub fn reduced(model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if field::<String>(model, name)?.is_some_and(|affix| !affix.is_empty()) {
            return Err(format!("its model has a {name}"));
        }
    }
    let unknown: Option<String> = field(model, "unk_token")?;
    let vocab = model.get("vocab").ok_or("its model has no vocabulary")?;
    let merges = model.get("merges").ok_or("its model has no merges")?;
    let (vocabulary, merges) = (Vocabulary::read(vocab.get())?, parse::<Vec<Merge<'_>>>(merges.get())?);
    let is_unknown = |entry: &str| unknown.as_deref() == Some(entry);
    let (kept, entries) = vocabulary.kept(|entry| needed.holds(entry) || is_unknown(entry))?;
    if merges.iter().any(|Merge(left, right)| is_byte(left) || is_byte(right) || is_unknown(left) || is_unknown(right)) {
        return Err("its model merges tokens that stand for other text".into());
    }
    let merges = possible(&merges, &kept, needed)?;
    Ok(Reduced { changed: [("vocab", raw(&kept)?), ("merges", raw(&merges)?)].into(), entries })
}

/// The merges that make a substring of a word.
///
/// # Errors
/// Where one of them is of strings that are no entries, which `tokenizers` refuses.
fn possible<'m>(merges: &'m [Merge<'_>], kept: &BTreeMap<&str, u32>, needed: &Needed<'_>) -> Result<Vec<(&'m str, &'m str)>, String> {
    let mut possible: Vec<(&str, &str)> = Vec::new();
    let mut joined = String::new();
    for Merge(left, right) in merges {
        joined.clear();
        joined.extend([left.as_ref(), right.as_ref()]);
        let parts_are_needed = needed.0.contains(left) && needed.0.contains(right);
        if !needed.0.contains(&joined) || !parts_are_needed {
            continue;
        }
        if ![left, right, joined.as_str()].into_iter().all(|entry| kept.contains_key(entry)) {
            return Err(format!("it merges {left:?} and {right:?}, which are not both entries, or make none"));
        }
        possible.push((left, right));
    }
    Ok(possible)
}

/// Two entries that are merged; a pair, or, in files of before, a line with a space between the two.
struct Merge<'d>(Cow<'d, str>, Cow<'d, str>);

impl<'de: 'd, 'd> Deserialize<'de> for Merge<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a merge of two entries")
    }

    fn visit_borrowed_str<E: Error>(self, line: &'de str) -> Result<Self::Value, E> {
        let (left, right) = line.split_once(' ').ok_or_else(|| E::custom("a merge without a space"))?;
        Ok(Merge(left.into(), right.into()))
    }

    fn visit_str<E: Error>(self, line: &str) -> Result<Self::Value, E> {
        let (left, right) = line.split_once(' ').ok_or_else(|| E::custom("a merge without a space"))?;
        Ok(Merge(left.to_owned().into(), right.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
        let mut part = || pair.next_element()?.map(|Entry(part)| part).ok_or_else(|| A::Error::custom("a merge of less than two"));
        let merge = Merge(part()?, part()?);
        pair.next_element::<Entry<'_>>()?.map_or(Ok(merge), |_| Err(A::Error::custom("a merge of more than two")))
    }
}
