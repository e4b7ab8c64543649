//! What those who load a tokenizer want to know of its definition, beside what an engine makes of it.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::definition::Entry;

/// Padding as written into a definition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Padding {
    /// The id that fills rows up.
    pub pad_id: Option<u32>,
    /// The segment that fills them up.
    #[serde(default)]
    pub pad_type_id: u32,
    /// `Left` or `Right`.
    #[serde(default)]
    pub direction: Option<String>,
}

/// A definition, read only as far as it is asked.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with a model")]
pub struct Outline<'d> {
    #[serde(default)]
    added_tokens: Option<Vec<AddedToken>>,
    /// Nothing where rows are not padded.
    #[serde(default)]
    pub padding: Option<Padding>,
    #[serde(borrow)]
    model: &'d RawValue,
}

#[derive(Debug, Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

impl<'d> Outline<'d> {
    /// Reads a definition.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(tokenizer_json: &'d str) -> Result<Self, String> {
        serde_json::from_str(tokenizer_json).map_err(|error| error.to_string())
    }

    /// The first of `contents` that is a token, as its id. A list of scored pieces is not searched: there, padding is an added token.
    pub fn first_id(&self, contents: &[String]) -> Option<u32> {
        // The whole vocabulary is read only for a content that is no added token.
        let mut in_vocabulary = None;
        contents.iter().enumerate().find_map(|(i, content)| {
            let added = self.added_tokens.iter().flatten().rfind(|token| token.content == *content).map(|token| token.id);
            added.or_else(|| in_vocabulary.get_or_insert_with(|| self.vocabulary_ids(contents))[i])
        })
    }

    fn vocabulary_ids(&self, contents: &[String]) -> Vec<Option<u32>> {
        let mut deserializer = serde_json::Deserializer::from_str(self.model.get());
        let found = deserializer.deserialize_map(Fields(contents));
        found.ok().flatten().unwrap_or_else(|| vec![None; contents.len()])
    }
}

/// Looks for `vocab` among the fields of a model.
struct Fields<'c>(&'c [String]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Option<Vec<Option<u32>>>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Entry(name)) = fields.next_key()? {
            if name == "vocab" {
                let vocab: &RawValue = fields.next_value()?;
                found = serde_json::Deserializer::from_str(vocab.get()).deserialize_map(Ids(self.0)).ok();
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Looks for contents in a vocabulary.
struct Ids<'c>(&'c [String]);

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = Vec<Option<u32>>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut ids = vec![None; self.0.len()];
        while let Some((Entry(entry), id)) = entries.next_entry()? {
            if let Some(i) = self.0.iter().position(|content| *content == entry) {
                ids[i] = Some(id);
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_id(json: &str, contents: &[&str]) -> Option<u32> {
        let contents: Vec<String> = contents.iter().map(|&content| content.to_owned()).collect();
        Outline::parse(json).ok().and_then(|outline| outline.first_id(&contents))
    }

    #[test]
    fn tokens_are_found_among_added_ones_and_entries_in_the_order_of_the_question() {
        let json = r#"{"added_tokens":[{"id":7,"content":"[PAD]"}],"model":{"type":"BPE","vocab":{"a":1,"<pad>":2}}}"#;
        assert_eq!(first_id(json, &["[PAD]"]), Some(7));
        assert_eq!(first_id(json, &["none", "<pad>", "[PAD]"]), Some(2));
        assert_eq!(first_id(json, &["none"]), None);
        assert_eq!(first_id(r#"{"model":{"vocab":[["<pad>",0.0]]}}"#, &["<pad>"]), None);
        assert!(Outline::parse(r#"{"padding":null}"#).is_err());
    }
}
