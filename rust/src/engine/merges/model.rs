//! A BPE model, as a definition has it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::MOST_MERGES;
use super::joined::Joined;
use crate::engine::definition::Entry;

/// The parts of a BPE model that count.
#[derive(Debug, Deserialize)]
pub struct Model<'d> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    /// Unknown characters become tokens of their bytes.
    #[serde(default)]
    pub byte_fallback: bool,
    /// A word that is an entry is that token, whatever its merges make.
    #[serde(default)]
    pub ignore_merges: bool,
    /// Its entries.
    #[serde(borrow)]
    pub vocab: Vocabulary<'d>,
    #[serde(borrow)]
    merges: Vec<Merge<'d>>,
}

/// A merge, in either form that files have. Not an untagged enum: that would copy each into a tree first.
#[derive(Debug)]
enum Merge<'d> {
    Joined(Cow<'d, str>),
    Parts(Entry<'d>, Entry<'d>),
}

impl<'de: 'd, 'd> Deserialize<'de> for Merge<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Merge<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a merge, as one string or two")
            }
            fn visit_borrowed_str<E>(self, line: &'de str) -> Result<Self::Value, E> {
                Ok(Merge::Joined(Cow::Borrowed(line)))
            }
            fn visit_str<E>(self, line: &str) -> Result<Self::Value, E> {
                Ok(Merge::Joined(Cow::Owned(line.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut part = || parts.next_element()?.ok_or_else(|| A::Error::custom("a merge of fewer than two parts"));
                Ok(Merge::Parts(part()?, part()?))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Entries and ids, in the order of the file.
#[derive(Debug)]
pub struct Vocabulary<'d>(Vec<(Entry<'d>, u32)>);

impl<'de: 'd, 'd> Deserialize<'de> for Vocabulary<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Entry<'de>, u32)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map from strings to ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(1 << 16);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

/// Ids by their entries.
#[derive(Debug)]
pub struct Ids<'v> {
    ids: HashMap<&'v str, u32, ahash::RandomState>,
    /// All ids are below.
    pub n_ids: usize,
}

impl Ids<'_> {
    pub fn get(&self, entry: &str) -> Option<u32> {
        self.ids.get(entry).copied()
    }
}

impl Model<'_> {
    /// The suffix of the last token of a word.
    pub fn end_of_word_suffix(&self) -> Option<&str> {
        self.end_of_word_suffix.as_deref().filter(|suffix| !suffix.is_empty())
    }

    /// The ids of all entries.
    ///
    /// # Errors
    /// Where it is no model of this kind, or has options that no engine knows, or entries twice.
    pub fn ids(&self) -> Result<Ids<'_>, String> {
        let known = self.kind.as_deref().is_none_or(|kind| kind == "BPE")
            && self.dropout.is_none_or(|dropout| dropout == 0.0)
            && self.continuing_subword_prefix.as_ref().is_none_or(String::is_empty);
        if !known {
            return Err("its BPE model has options that no fast engine knows".into());
        }
        let mut ids: HashMap<&str, u32, _> = HashMap::with_capacity_and_hasher(self.vocab.0.len(), ahash::RandomState::default());
        ids.extend(self.vocab.entries());
        let n_ids = ids.values().max().map_or(0, |&id| id as usize + 1);
        if ids.len() != self.vocab.0.len() || n_ids > 4 * ids.len() || has_equals(ids.values(), n_ids) {
            return Err("its vocabulary has entries or ids twice, or large gaps".into());
        }
        Ok(Ids { ids, n_ids })
    }

    /// Appends the ids of the left part, the right part and what they make, in the order of their ranks.
    ///
    /// # Errors
    /// Where there are too many merges, or one is not understood or of something that is no entry.
    pub fn read_merges(&self, ids: &Ids<'_>, merges: &mut Vec<[u32; 3]>) -> Result<(), String> {
        if self.merges.len() + merges.len() >= MOST_MERGES {
            return Err("it has more merges than can be numbered".into());
        }
        merges.reserve(self.merges.len());
        let mut joined = Joined::new(self.vocab.entries(), ids.n_ids);
        for merge in &self.merges {
            let (left, right) = parts(merge)?;
            match (ids.get(left), ids.get(right), joined.id(ids, left, right)) {
                (Some(left), Some(right), Some(both)) => merges.push([left, right, both]),
                _ => return Err(format!("its merge of {left:?} and {right:?} is not in its vocabulary")),
            }
        }
        Ok(())
    }
}

impl Vocabulary<'_> {
    /// Entries and ids.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(entry, id)| (entry.0.as_ref(), *id))
    }
}

fn has_equals<'i>(ids: impl Iterator<Item = &'i u32>, n_ids: usize) -> bool {
    let mut seen = vec![false; n_ids];
    ids.into_iter().any(|&id| std::mem::replace(&mut seen[id as usize], true))
}

/// Both parts of a merge, not empty.
fn parts<'m>(merge: &'m Merge<'_>) -> Result<(&'m str, &'m str), String> {
    let parts = match merge {
        Merge::Parts(left, right) => Some((left.0.as_ref(), right.0.as_ref())),
        // A line with this start is skipped by `tokenizers`.
        Merge::Joined(line) if line.starts_with("#version") => None,
        Merge::Joined(line) => line.split_once(' ').filter(|(_, right)| !right.contains(' ')),
    };
    parts.filter(|(left, right)| !left.is_empty() && !right.is_empty()).ok_or_else(|| format!("its merge {merge:?} is not understood"))
}
