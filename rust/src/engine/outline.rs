//! What those who load a tokenizer want to know of its definition, beside what an engine makes of it.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
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

/// A definition, read only as far as it is asked: up to the model, which is nearly all of it and which loading reads anyway, where what
/// is asked stands before it; the same once more after it is not seen.
#[derive(Debug)]
pub struct Outline<'d> {
    added_tokens: Vec<AddedToken>,
    /// Nothing where rows are not padded.
    pub padding: Option<Padding>,
    definition: &'d [u8],
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
    /// Why it is none, as far as it is read.
    pub fn parse(definition: &'d [u8]) -> Result<Self, String> {
        let mut fields = Fields::default();
        let result = serde_json::Deserializer::from_slice(definition).deserialize_map(&mut fields);
        // Where reading stopped at the model, what is missed is the rest.
        if let (Err(error), false) = (result, fields.stopped_at_model) {
            return Err(error.to_string());
        }
        Ok(Self { added_tokens: fields.added_tokens, padding: fields.padding, definition })
    }

    /// The first of `contents` that is an added token, else the first in the vocabulary, as its id. A list of scored pieces is not searched:
    /// there, padding is an added token.
    pub fn first_id(&self, contents: &[String]) -> Option<u32> {
        let id = |content: &String| self.added_tokens.iter().rfind(|token| token.content == *content).map(|token| token.id);
        contents.iter().find_map(id).or_else(|| self.vocabulary_ids(contents)?.into_iter().flatten().next())
    }

    fn vocabulary_ids(&self, contents: &[String]) -> Option<Vec<Option<u32>>> {
        let WithModel { model } = serde_json::from_slice(self.definition).ok()?;
        serde_json::Deserializer::from_str(model.vocab?.get()).deserialize_map(Ids(contents)).ok()
    }
}

/// The fields that are asked, as far as they were met.
#[derive(Debug, Default)]
struct Fields {
    added_tokens: Vec<AddedToken>,
    padding: Option<Padding>,
    met_added_tokens: bool,
    met_padding: bool,
    stopped_at_model: bool,
}

impl<'de> Visitor<'de> for &mut Fields {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object with a model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut has_model = false;
        while let Some(Entry(name)) = fields.next_key()? {
            match name.as_ref() {
                "added_tokens" => {
                    self.added_tokens = fields.next_value::<Option<_>>()?.unwrap_or_default();
                    self.met_added_tokens = true;
                }
                "padding" => {
                    self.padding = fields.next_value()?;
                    self.met_padding = true;
                }
                "model" if self.met_added_tokens && self.met_padding => {
                    self.stopped_at_model = true;
                    return Ok(());
                }
                name => {
                    has_model |= name == "model";
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_model { Ok(()) } else { Err(A::Error::missing_field("model")) }
    }
}

#[derive(Deserialize)]
struct WithModel<'d> {
    #[serde(borrow)]
    model: Model<'d>,
}

#[derive(Deserialize)]
struct Model<'d> {
    #[serde(borrow)]
    vocab: Option<&'d RawValue>,
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
        Outline::parse(json.as_bytes()).ok().and_then(|outline| outline.first_id(&contents))
    }

    #[test]
    fn tokens_are_found_among_added_ones_and_then_among_entries() {
        let json = r#"{"added_tokens":[{"id":7,"content":"[PAD]"}],"model":{"type":"BPE","vocab":{"a":1,"<pad>":2}}}"#;
        assert_eq!(first_id(json, &["[PAD]"]), Some(7));
        assert_eq!(first_id(json, &["none", "<pad>"]), Some(2));
        assert_eq!(first_id(json, &["none", "<pad>", "[PAD]"]), Some(7), "added tokens come first");
        assert_eq!(first_id(json, &["none"]), None);
        assert_eq!(first_id(r#"{"model":{"vocab":[["<pad>",0.0]]}}"#, &["<pad>"]), None);
        assert!(Outline::parse(br#"{"padding":null}"#).is_err());
    }

    #[test]
    fn reading_stops_at_the_model_where_all_else_was_met() {
        let parse =
            |json: &'static str| Outline::parse(json.as_bytes()).map(|outline| (outline.padding.is_some(), outline.added_tokens.len()));
        assert_eq!(parse(r#"{"added_tokens":[{"id":7,"content":"a"}],"padding":{"pad_id":1},"model":{not read"#), Ok((true, 1)));
        assert_eq!(parse(r#"{"model":{},"padding":null,"added_tokens":null}"#), Ok((false, 0)), "in any order");
        assert!(parse(r#"{"added_tokens":[],"model":{not read"#).is_err(), "padding may still come");
        assert!(parse(r#"{"padding":7,"added_tokens":[],"model":{}}"#).is_err());
    }
}
