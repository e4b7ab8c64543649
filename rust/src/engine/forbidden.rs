//! Refuses texts that hold a special token, for any engine.

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Engine, Piece, Tokens};
use crate::error::{Error, Result};

/// An engine that reads only texts without special tokens.
pub struct Forbidding {
    engine: Box<dyn Engine>,
    finder: AhoCorasick,
    longest_bytes: usize,
}

impl Forbidding {
    /// `engine`, but for texts with one of these strings.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where they are too many.
    pub fn new(engine: Box<dyn Engine>, special_tokens: &[String]) -> Result<Self> {
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(special_tokens);
        let finder = finder.map_err(|error| Error::Tokenizer(format!("the special tokens cannot be searched for: {error}.")))?;
        Ok(Self { engine, finder, longest_bytes: special_tokens.iter().map(String::len).max().unwrap_or(0) })
    }

    /// Finds a special token that starts in the piece. It may end outside: an engine that reads special tokens as text cuts where it likes.
    fn check(&self, text: &str, piece: &Piece) -> std::result::Result<(), String> {
        let end = text.ceil_char_boundary(piece.own.end + self.longest_bytes);
        let found = self.finder.find(&text[piece.own.start..end]);
        let Some(found) = found.filter(|found| piece.own.start + found.start() < piece.own.end) else { return Ok(()) };
        let start = piece.own.start + found.start();
        let (token, char_start) = (&text[start..piece.own.start + found.end()], text[..start].chars().count());
        Err(format!(
            "the text holds the special token {token:?} at character {char_start}, and specials=\"error\" forbids it; remove it, or use \
             specials=\"text\" to read it as plain text or \"parse\" as the control token."
        ))
    }
}

impl Engine for Forbidding {
    fn pieces(&self, text: &str) -> Vec<Piece> {
        self.engine.pieces(text)
    }

    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> std::result::Result<(), String> {
        self.check(text, piece)?;
        self.engine.encode(text, piece, tokens)
    }

    fn explain(&self) -> String {
        self.engine.explain()
    }
}
