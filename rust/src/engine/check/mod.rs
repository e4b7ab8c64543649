//! The general engine in small: what a fast engine is compared with before it is used.
//!
//! Building the general engine with a whole vocabulary takes up to seconds, and the probes touch a few hundred entries of it. So it is
//! built from a *reduced* definition, with the entries that can matter for the probes, and everything else as it stands.
//!
//! Why the comparison loses nothing: the strings that the model is asked to tokenize come from the definition's own added tokens,
//! normalizer and pre-tokenizer, run by the `tokenizers` crate itself. Every model there looks up substrings of these strings and
//! nothing else (beside the unknown token and bytes, which are kept), so that an entry that is no substring is never looked up. Where a
//! model could do more than that, or this module does not understand it, there is no reduction, and the general engine is used for
//! everything. An entry kept without need changes nothing.

mod bpe;
mod substrings;
#[cfg(test)]
mod tests;
mod unigram;
mod vocabulary;
mod wordpiece;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizer, Tokenizer};

use self::substrings::Substrings;
use super::definition::{Definition, Entry, field};
use super::general::guarded;
use super::{GeneralEngine, Tokens, encode_all};
use crate::config::Specials;

/// A model, its fields not read.
type Model<'d> = super::definition::Object<'d>;

/// The fields of a model that are not those of the definition.
type Changed = BTreeMap<&'static str, Box<RawValue>>;

/// A model that knows nothing; only what comes before the model is asked of its tokenizer.
const NO_MODEL: &str = r#"{"type":"WordPiece","unk_token":"","continuing_subword_prefix":"","max_input_chars_per_word":1,"vocab":{}}"#;

/// The general engine with the part of the vocabulary that some texts can touch.
#[derive(Debug)]
pub struct Reference {
    engine: GeneralEngine,
    entries: Entries,
}

/// The vocabulary entries that were kept. In the reduced definition they are numbered from 0, as `tokenizers` numbers added tokens by the
/// size of the vocabulary.
#[derive(Debug)]
struct Entries {
    /// The real id of each.
    ids: Vec<u32>,
    /// Entries of the whole vocabulary.
    n_all: usize,
}

/// A model with fewer entries, as JSON.
struct Reduced {
    changed: Changed,
    entries: Entries,
}

/// What can be needed of a vocabulary: parts of the words, and added tokens, which have the ids of entries of their content.
struct Needed<'n>(Substrings<'n>);

impl Reference {
    /// A reference that is right about `texts`.
    ///
    /// # Errors
    /// Why the definition cannot be reduced, or what is wrong with it.
    pub fn new(definition: &Definition<'_>, specials: Specials, texts: &[&str]) -> Result<Self, String> {
        let before_model = engine(definition, parse(NO_MODEL)?, specials)?;
        let words = guarded(|| words(before_model.tokenizer(), texts))?;
        let needed = Needed(Substrings::of(&words).and(definition.added_token_ids().map(|(content, _)| content)));
        let model = &definition.model;
        let Reduced { changed, entries } = reduced(definition, model, &needed)?;
        // The next added token that is no entry would be numbered after such a one, which the reduced vocabulary does not show.
        let is_beyond = |id: u32| id as usize >= entries.n_all && entries.ids.contains(&id);
        if let Some((content, _)) = definition.added_token_ids().find(|&(_, id)| is_beyond(id)) {
            return Err(format!("its added token {content:?} is an entry with an id beyond the size of the vocabulary"));
        }
        let unchanged = model.iter().map(|(Entry(name), &value)| (name.as_ref(), value));
        let fields: BTreeMap<&str, &RawValue> = unchanged.chain(changed.iter().map(|(&name, value)| (name, value.as_ref()))).collect();
        Ok(Self { engine: engine(definition, &raw(&fields)?, specials)?, entries })
    }

    /// The tokens of one of the texts.
    ///
    /// # Errors
    /// As [`super::Engine::encode`].
    pub fn tokens(&self, text: &str) -> Result<Tokens, String> {
        let mut tokens = encode_all(&self.engine, text)?;
        tokens.ids_mut().iter_mut().for_each(|id| *id = self.entries.real_id(*id));
        Ok(tokens)
    }

    /// The id of an added token.
    pub fn added_token_id(&self, content: &str) -> Option<u32> {
        self.engine.tokenizer().token_to_id(content).map(|id| self.entries.real_id(id))
    }
}

impl Entries {
    fn real_id(&self, id: u32) -> u32 {
        // Added tokens that are no entries are numbered from the end of the vocabulary.
        self.ids.get(id as usize).copied().unwrap_or_else(|| id - self.ids.len() as u32 + self.n_all as u32)
    }
}

impl Needed<'_> {
    /// Can an entry of this content be looked up?
    fn holds(&self, content: &str) -> bool {
        self.0.contains(content) || is_byte(content)
    }
}

/// Is it one of the tokens `<0x00>` to `<0xFF>`, which stand for bytes that have no other token?
fn is_byte(content: &str) -> bool {
    content.len() == 6 && content.starts_with("<0x") && content.ends_with('>')
}

/// The general engine for the definition with another model.
fn engine(definition: &Definition<'_>, model: &RawValue, specials: Specials) -> Result<GeneralEngine, String> {
    let unchanged = definition.fields.iter().map(|(Entry(name), &value)| (name.as_ref(), value));
    let fields: BTreeMap<&str, &RawValue> = unchanged.chain([("model", model)]).collect();
    GeneralEngine::new(raw(&fields)?.get(), specials).map_err(|error| error.to_string())
}

/// All strings that a model gets to see of the texts.
fn words(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for text in texts {
        let mut sections = tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut sections).map_err(|error| error.to_string())?;
        }
        let splits = sections.get_splits(OffsetReferential::Normalized, OffsetType::None);
        words.extend(splits.into_iter().map(|(word, ..)| word.to_owned()));
    }
    Ok(words)
}

fn reduced(definition: &Definition<'_>, model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    let kind: Option<String> = field(model, "type")?;
    // A model without a type is what it has the fields of, in this order.
    match kind.as_deref() {
        Some("BPE") => bpe::reduced(model, needed),
        Some("WordPiece") => wordpiece::reduced(model, needed),
        Some("Unigram") => unigram::reduced(definition, model, needed),
        None if model.contains_key("merges") => bpe::reduced(model, needed),
        None if model.contains_key("continuing_subword_prefix") => wordpiece::reduced(model, needed),
        None if model.get("vocab").is_some_and(|vocab| vocab.get().starts_with('[')) => unigram::reduced(definition, model, needed),
        _ => Err("its model is of a kind whose vocabulary cannot be reduced".into()),
    }
}

fn parse<'d, T: Deserialize<'d>>(json: &'d str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, String> {
    to_raw_value(value).map_err(|error| error.to_string())
}
