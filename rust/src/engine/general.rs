//! The general engine: the `tokenizers` crate, for any `tokenizer.json`. Slow but right; the fast engines are measured against it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{Engine, Piece, Tokens, cuts};
use crate::config::Specials;
use crate::error::{Error, Result};
use crate::offsets::byte_of_char;

/// Any tokenizer the `tokenizers` crate can read.
#[derive(Debug)]
pub struct GeneralEngine {
    tokenizer: Tokenizer,
    /// Why texts are tokenized whole; nothing where they are cut into parts.
    obstacle: Option<String>,
}

impl GeneralEngine {
    /// Reads a `tokenizer.json`. Truncation and padding written into it are ignored: they would lose text silently.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it cannot be read.
    pub fn new(tokenizer_json: &str, specials: Specials) -> Result<Self> {
        let definition: Value = serde_json::from_str(tokenizer_json).map_err(|error| refused(&error))?;
        let mut tokenizer = guarded(|| tokenizer_json.parse::<Tokenizer>().map_err(|error| error.to_string())).map_err(|e| refused(&e))?;
        tokenizer.with_truncation(None).map_err(|error| refused(&error))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(specials != Specials::Parse);
        Ok(Self { tokenizer, obstacle: cuts::obstacle(&definition) })
    }

    /// The tokenizer itself, for what is not text: templates and ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Contents of its special tokens.
    pub fn special_tokens(&self) -> Vec<String> {
        self.tokenizer.get_added_tokens_decoder().into_values().filter(|token| token.special).map(|token| token.content).collect()
    }
}

impl Engine for GeneralEngine {
    fn pieces(&self, text: &str) -> Vec<Piece> {
        match self.obstacle {
            None => cuts::pieces(text),
            Some(_) => vec![Piece { context_start: 0, own: 0..text.len() }],
        }
    }

    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> std::result::Result<(), String> {
        let part = &text[piece.context_start..piece.own.end];
        // Character offsets, because trimming of spaces by some tokenizers counts characters, not bytes.
        let encoding = guarded(|| self.tokenizer.encode_char_offsets(part, false).map_err(|error| error.to_string()))
            .map_err(|error| format!("the tokenizer refused it: {error}"))?;
        let byte_of_char = byte_of_char(part);
        let to_byte = |char_position: usize| {
            let byte = byte_of_char.as_ref().map_or(char_position, |table| table[char_position.min(table.len() - 1)] as usize);
            (piece.context_start + byte) as u32
        };
        let spans = encoding.get_offsets().iter().map(|&(start, end)| (to_byte(start), to_byte(end)));
        let own = encoding.get_ids().iter().zip(spans).filter(|(_, (start, _))| *start as usize >= piece.own.start || piece.own.start == 0);
        own.for_each(|(&id, span)| tokens.push(id, span));
        Ok(())
    }

    fn explain(&self) -> String {
        let reading = match &self.obstacle {
            None => "long documents are read in parts, cut where no component of this tokenizer sees across".to_owned(),
            Some(obstacle) => format!("documents are read whole, because {obstacle}"),
        };
        format!("engine: general (the Hugging Face tokenizers crate, any tokenizer.json)\nreading: {reading}")
    }
}

/// Runs code of the `tokenizers` crate, which asserts where a definition contradicts itself, and turns a panic into an error.
pub fn guarded<T>(work: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(message.unwrap_or_else(|| "an internal check of the tokenizer failed".to_owned()))
    })
}

/// The error of a definition that cannot be read, and why.
pub fn refused(error: &dyn std::fmt::Display) -> Error {
    Error::Tokenizer(format!(
        "the tokenizer definition cannot be read: {error}. Give a tokenizer.json as Hugging Face tokenizers 0.23 writes it."
    ))
}
