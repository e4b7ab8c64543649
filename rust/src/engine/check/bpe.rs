//! BPE: looks up the characters of a word, byte tokens, the unknown token, the whole word, and what merges make of neighbours.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::vocabulary::Vocabulary;
use super::{Model, Needed, Reduced, is_byte, raw};
use crate::engine::definition::{Entry, field};

/// The model with the entries that are needed, and the merges that can happen, in their order.
///
/// A merge makes a substring of the word, with or without the suffix that marks its end, unless a part of it is a byte or the unknown
/// token, whose content is not what stands in the word: a model that merges these is not reduced.
pub fn reduced(model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    if field::<String>(model, "continuing_subword_prefix")?.is_some_and(|prefix| !prefix.is_empty()) {
        return Err("its model has a continuing_subword_prefix".into());
    }
    let suffix: Option<String> = field(model, "end_of_word_suffix")?;
    let needed = WithEnds { needed, suffix: suffix.as_deref().unwrap_or_default() };
    let unknown: Option<String> = field(model, "unk_token")?;
    let vocab = model.get("vocab").ok_or("its model has no vocabulary")?;
    let merges = model.get("merges").ok_or("its model has no merges")?;
    let vocabulary = Vocabulary::read(vocab.get())?;
    let is_unknown = |entry: &str| unknown.as_deref() == Some(entry);
    let (kept, entries) = vocabulary.kept(|entry| needed.contains(entry) || is_byte(entry) || is_unknown(entry))?;
    let possible = Possible { kept: &kept, needed: &needed, unknown: unknown.as_deref() };
    let merges = possible.deserialize(&mut serde_json::Deserializer::from_str(merges.get())).map_err(|error| error.to_string())?;
    Ok(Reduced { changed: [("vocab", raw(&kept)?), ("merges", raw(&merges)?)].into(), entries })
}

/// What can be needed, also at the end of a word.
struct WithEnds<'n, 'k> {
    needed: &'k Needed<'n>,
    suffix: &'k str,
}

impl WithEnds<'_, '_> {
    fn contains(&self, entry: &str) -> bool {
        self.needed.0.contains(entry) || entry.strip_suffix(self.suffix).is_some_and(|entry| self.needed.0.contains(entry))
    }
}

/// Reads a list of merges and keeps those that make a substring of a word. The others are dropped at once: a list of all of them takes
/// more time to fill than to read.
struct Possible<'n, 'k> {
    kept: &'k BTreeMap<&'k str, u32>,
    needed: &'k WithEnds<'n, 'k>,
    unknown: Option<&'k str>,
}

impl Possible<'_, '_> {
    /// Can the merge happen?
    ///
    /// # Errors
    /// Where it is of strings that are no entries, which `tokenizers` refuses, or of tokens that stand for other text.
    fn is_possible(&self, Merge(left, right): &Merge<'_>, joined: &mut String) -> Result<bool, String> {
        if [left, right].into_iter().any(|part| is_byte(part) || self.unknown == Some(part.as_ref())) {
            return Err("its model merges tokens that stand for other text".into());
        }
        if !self.needed.contains(left) || !self.needed.contains(right) {
            return Ok(false);
        }
        joined.clear();
        joined.extend([left.as_ref(), right.as_ref()]);
        if !self.needed.contains(joined) {
            return Ok(false);
        }
        if [left, right, joined.as_str()].into_iter().all(|entry| self.kept.contains_key(entry)) {
            return Ok(true);
        }
        Err(format!("it merges {left:?} and {right:?}, which are not both entries, or make none"))
    }
}

impl<'de> DeserializeSeed<'de> for Possible<'_, '_> {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Possible<'_, '_> {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut merges: A) -> Result<Self::Value, A::Error> {
        let (mut possible, mut joined) = (Vec::new(), String::new());
        while let Some(merge) = merges.next_element::<Merge<'de>>()? {
            if self.is_possible(&merge, &mut joined).map_err(A::Error::custom)? {
                possible.push((merge.0, merge.1));
            }
        }
        Ok(possible)
    }
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
