//! Text to ids and byte spans: the one seam every tokenizer engine implements.

mod added;
mod aligned;
mod bytebpe;
mod cache;
mod charbpe;
mod check;
mod cuts;
mod definition;
mod forbidden;
mod general;
mod lookup;
mod merges;
mod metaspace;
mod news;
mod outline;
mod select;
mod sets;
mod tokens;
mod trie;
mod unigram;
mod wordpiece;
mod words;

use std::ops::Range;

pub use general::{GeneralEngine, refused};
pub use outline::{Outline, Padding};
pub use select::{Loaded, load};
pub use tokens::{TOKEN_BYTES, Tokens};

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

    /// Bytes after the end of a piece that [`Engine::encode`] looks at, beside whether there are any. It looks at none before the context.
    fn reads_past(&self) -> usize {
        0
    }

    /// So many threads are about to read parts of one text: what one learned of words so far, all may begin with.
    fn share(&self, n_threads: usize) {
        let _ = n_threads;
    }

    /// Which engine this is, and why.
    fn explain(&self) -> String;
}

/// Appends the tokens of the whole of a text, read on the calling thread.
///
/// # Errors
/// As [`Engine::encode`].
pub fn encode_into(engine: &dyn Engine, text: &str, tokens: &mut Tokens) -> std::result::Result<(), String> {
    if text.len() <= SHORT_TEXT_BYTES {
        return engine.encode(text, &Piece { context_start: 0, own: 0..text.len() }, tokens);
    }
    engine.pieces(text).iter().try_for_each(|piece| engine.encode(text, piece, tokens))
}

/// The tokens of the whole of a text.
///
/// # Errors
/// As [`Engine::encode`].
pub fn encode_all(engine: &dyn Engine, text: &str) -> std::result::Result<Tokens, String> {
    let mut tokens = Tokens::default();
    encode_into(engine, text, &mut tokens)?;
    Ok(tokens)
}
