//! Vocabularies that are JSON objects: those of `WordPiece` and BPE.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::{Entries, parse};
use crate::engine::definition::Entry;

/// Contents and ids, in the order of the file.
pub struct Vocabulary<'d>(Vec<(Cow<'d, str>, u32)>);

impl<'de: 'd, 'd> Deserialize<'de> for Vocabulary<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Cow<'de, str>, u32)>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Entry(content), id)) = map.next_entry()? {
                    entries.push((content, id));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

impl<'d> Vocabulary<'d> {
    /// Reads `vocab` of a model.
    pub fn read(vocab: &'d str) -> Result<Self, String> {
        parse(vocab)
    }

    /// Those of the entries that are needed, numbered from 0.
    ///
    /// # Errors
    /// Where two entries share a content or an id: which one counts then depends on more than the contents.
    pub fn kept(&self, is_needed: impl Fn(&str) -> bool) -> Result<(BTreeMap<&str, u32>, Entries), String> {
        let (mut kept, mut ids) = (BTreeMap::new(), Vec::new());
        for (content, id) in self.0.iter().filter(|(content, _)| is_needed(content)) {
            if kept.insert(content.as_ref(), ids.len() as u32).is_some() {
                return Err(format!("its vocabulary has {content:?} twice"));
            }
            ids.push(*id);
        }
        self.has_distinct_ids().then_some(()).ok_or("its vocabulary uses an id twice")?;
        Ok((kept, Entries { ids, n_all: self.0.len() }))
    }

    fn has_distinct_ids(&self) -> bool {
        let mut ids: Vec<u32> = self.0.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable(); // nearly sorted already, which costs next to nothing
        ids.windows(2).all(|pair| pair[0] != pair[1])
    }
}
