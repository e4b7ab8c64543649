//! Text to ids and byte spans: the one seam every tokenizer engine implements.

mod added;
mod bytebpe;
mod cache;
mod check;
mod cuts;
mod definition;
mod forbidden;
mod general;
mod outline;
mod select;
mod sets;
mod sink;
mod trie;
mod unigram;
mod wordpiece;
mod words;

use std::ops::Range;

pub use general::GeneralEngine;
pub use outline::{Outline, Padding};
pub use select::{Loaded, load};

/// The tokens of a text, without special tokens, as two columns of equal length.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Vocabulary ids.
    pub ids: Vec<u32>,
    /// Where each token stands in the text, in bytes, on character boundaries.
    pub byte_spans: Vec<(u32, u32)>,
}

impl Tokens {
    /// Makes room for this many tokens more.
    pub fn reserve(&mut self, n_tokens: usize) {
        self.ids.reserve(n_tokens);
        self.byte_spans.reserve(n_tokens);
    }

    /// Appends one token.
    pub fn push(&mut self, id: u32, byte_span: (u32, u32)) {
        self.ids.push(id);
        self.byte_spans.push(byte_span);
    }

    /// Appends the tokens of a later part of the same text.
    pub fn append(&mut self, mut later: Self) {
        self.ids.append(&mut later.ids);
        self.byte_spans.append(&mut later.byte_spans);
    }

    /// Removes all tokens and keeps their memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.byte_spans.clear();
    }
}

/// A part of a text that can be tokenized on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where tokenizing starts: at or before `own`. What comes before `own` is read and thrown away.
    pub context_start: usize,
    /// The bytes whose tokens count.
    pub own: Range<usize>,
}

/// No longer than this, a text is read as one part: finding its parts would only cost time.
pub const SHORT_TEXT_BYTES: usize = 64 * 1024;

/// A tokenizer.
pub trait Engine: Send + Sync {
    /// Parts of `text` whose tokens, one part after the other, are the tokens of the whole. An engine that cannot prove a cut safe
    /// gives one part.
    fn pieces(&self, text: &str) -> Vec<Piece>;

    /// Tokenizes one part and appends its tokens; spans count from the start of `text`.
    ///
    /// # Errors
    /// A message where the model refuses the text, for example for want of an unknown token.
    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> std::result::Result<(), String>;

    /// Which engine this is, and why.
    fn explain(&self) -> String;
}

/// The whole of a text, tokenized on the calling thread.
///
/// # Errors
/// As [`Engine::encode`].
pub fn encode_all(engine: &dyn Engine, text: &str) -> std::result::Result<Tokens, String> {
    let mut tokens = Tokens::default();
    if text.len() <= SHORT_TEXT_BYTES {
        engine.encode(text, &Piece { context_start: 0, own: 0..text.len() }, &mut tokens)?;
        return Ok(tokens);
    }
    for piece in engine.pieces(text) {
        engine.encode(text, &piece, &mut tokens)?;
    }
    Ok(tokens)
}
