//! A `tokenizer.json`, as far as the fast engines need it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::PostProcessorWrapper;

use super::added::AddedToken;
use crate::config::Specials;

/// A JSON object whose values are not read yet.
pub type Object<'d> = BTreeMap<Entry<'d>, &'d RawValue>;

/// The whole definition. Vocabularies stay text until an engine wants them: they are nearly all of it.
#[derive(Debug)]
pub struct Definition<'d> {
    /// Everything that stands in it beside the model.
    pub fields: Object<'d>,
    /// Strings that are one token wherever they stand.
    added_tokens: Vec<AddedTokenDefinition>,
    /// Null for none.
    pub normalizer: Value,
    /// Null for none.
    pub pre_tokenizer: Value,
    /// Vocabulary and what belongs to it. Its fields are told apart in the same pass as all others: each pass takes a while.
    pub model: Object<'d>,
    /// What more than one reader asks for is read once.
    pieces: OnceCell<Vec<Piece<'d>>>,
}

/// An entry of a vocabulary that is a list.
#[derive(Debug)]
pub struct Piece<'d> {
    pub content: Cow<'d, str>,
    pub score: f64,
    /// The score as it stands there.
    pub digits: &'d RawValue,
}

/// The fields of a definition and of its model.
#[derive(Default)]
struct Parts<'d> {
    fields: Object<'d>,
    model: Option<Object<'d>>,
}

impl<'de: 'd, 'd> Deserialize<'de> for Parts<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parts<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parts = Parts::default();
                while let Some(name) = map.next_key::<Entry<'de>>()? {
                    if name.0 == "model" {
                        parts.model = Some(map.next_value()?);
                    } else {
                        parts.fields.insert(name, map.next_value()?);
                    }
                }
                Ok(parts)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // the rules of Hugging Face `AddedToken`, as it names them
struct AddedTokenDefinition {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// A string of the vocabulary, borrowed where it has no escapes.
#[derive(Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(transparent)]
pub struct Entry<'d>(#[serde(borrow)] pub Cow<'d, str>);

impl std::borrow::Borrow<str> for Entry<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'d> Definition<'d> {
    /// Reads a definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(tokenizer_json: &'d str) -> Result<Self, String> {
        let Parts { fields, model } = serde_json::from_str(tokenizer_json).map_err(|error| error.to_string())?;
        Ok(Self {
            added_tokens: field(&fields, "added_tokens")?.unwrap_or_default(),
            normalizer: field(&fields, "normalizer")?.unwrap_or_default(),
            pre_tokenizer: field(&fields, "pre_tokenizer")?.unwrap_or_default(),
            model: model.ok_or("it has no model")?,
            fields,
            pieces: OnceCell::new(),
        })
    }

    /// What puts special tokens around a text.
    ///
    /// # Errors
    /// What the `tokenizers` crate says against it.
    pub fn post_processor(&self) -> Result<Option<PostProcessorWrapper>, String> {
        field(&self.fields, "post_processor")
    }

    /// The same as it stands there; null for none.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn post_processor_json(&self) -> Result<Value, String> {
        Ok(field(&self.fields, "post_processor")?.unwrap_or(Value::Null))
    }

    /// Contents and ids of all added tokens.
    pub fn added_token_ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.added_tokens.iter().map(|token| (token.content.as_str(), token.id))
    }

    /// Contents of the special ones among the added tokens.
    pub fn special_tokens(&self) -> Vec<String> {
        self.added_tokens.iter().filter(|token| token.special).map(|token| token.content.clone()).collect()
    }

    /// The model, read as an engine wants it.
    ///
    /// # Errors
    /// What is missing, or of another kind.
    pub fn model<M: Deserialize<'d>>(&self) -> Result<M, String> {
        let fields = self.model.iter().map(|(Entry(name), &value)| (name.as_ref(), value));
        M::deserialize(MapDeserializer::new(fields)).map_err(|error: serde_json::Error| error.to_string())
    }

    /// The vocabulary of a model where it is a list of pieces and scores.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn pieces(&self) -> Result<&[Piece<'d>], String> {
        if let Some(pieces) = self.pieces.get() {
            return Ok(pieces);
        }
        let vocab: Vec<(Entry<'d>, &'d RawValue)> = field(&self.model, "vocab")?.ok_or("its model has no vocabulary")?;
        let piece = |(content, digits): (Entry<'d>, &'d RawValue)| {
            serde_json::from_str(digits.get()).map(|score| Piece { content: content.0, score, digits })
        };
        let pieces = vocab.into_iter().map(piece).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(self.pieces.get_or_init(|| pieces))
    }

    /// Refuses added tokens that are looked for in normalized text, where normalization is part of reading a word.
    ///
    /// # Errors
    /// Where there is one that is not read as text.
    pub fn refuse_normalized_tokens(&self, specials: Specials) -> Result<(), String> {
        let is_looked_for = |token: &&AddedTokenDefinition| token.normalized && !(token.special && specials != Specials::Parse);
        match self.added_tokens.iter().find(is_looked_for) {
            None => Ok(()),
            Some(token) => Err(format!("its added token {:?} is looked for in normalized text", token.content)),
        }
    }

    /// The added tokens that are matched before normalization, and those that are matched after it.
    ///
    /// # Errors
    /// Where their rules overlap in a way that the search does not follow.
    pub fn added_tokens(&self, specials: Specials) -> Result<[Vec<AddedToken>; 2], String> {
        let mut passes = [Vec::new(), Vec::new()];
        for token in &self.added_tokens {
            let pass = &mut passes[usize::from(token.normalized)];
            if token.content.is_empty() || pass.iter().any(|other: &AddedToken| other.content == token.content) {
                return Err(format!("its added token {:?} is empty or stands twice", token.content));
            }
            if token.content.starts_with(char::is_whitespace) && self.added_tokens.iter().any(|other| other.rstrip) {
                return Err("one added token takes blanks along that may begin another".into());
            }
            pass.push(AddedToken {
                content: token.content.clone(),
                id: token.id,
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                is_text: token.special && specials != Specials::Parse,
            });
        }
        Ok(passes)
    }
}

/// A field, read; nothing where it is absent or null.
///
/// # Errors
/// Where it is of another kind.
pub fn field<'d, T: Deserialize<'d>>(object: &Object<'d>, name: &str) -> Result<Option<T>, String> {
    let Some(value) = object.get(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|error| error.to_string())
}

/// The type of a component; empty where there is none.
pub fn kind(component: &Value) -> &str {
    component["type"].as_str().unwrap_or_default()
}

/// The members of a sequence, in order; a component that is none is its own only member.
pub fn members<'v>(component: &'v Value, key: &str) -> Vec<&'v Value> {
    match kind(component) {
        "Sequence" => component[key].as_array().into_iter().flatten().flat_map(|member| members(member, key)).collect(),
        _ if component.is_null() => vec![],
        _ => vec![component],
    }
}
