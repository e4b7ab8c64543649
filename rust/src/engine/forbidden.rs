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
        let end = (piece.own.end + self.longest_bytes..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
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

    fn reads_past(&self) -> usize {
        self.engine.reads_past().max(self.longest_bytes + 3) // to the end of a character
    }

    fn share(&self, n_threads: usize) {
        self.engine.share(n_threads);
    }

    fn explain(&self) -> String {
        self.engine.explain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads nothing, and cuts texts after the third byte.
    struct Cutting;

    impl Engine for Cutting {
        fn pieces(&self, text: &str) -> Vec<Piece> {
            [0..3, 3..text.len()].map(|own| Piece { context_start: 0, own }).into()
        }

        fn encode(&self, _: &str, _: &Piece, _: &mut Tokens) -> std::result::Result<(), String> {
            Ok(())
        }

        fn explain(&self) -> String {
            String::new()
        }
    }

    fn refusals(text: &str) -> Vec<bool> {
        let engine = Forbidding::new(Box::new(Cutting), &["<end>".to_owned()]);
        let engine = engine.unwrap_or_else(|error| unreachable!("{error}"));
        engine.pieces(text).iter().map(|piece| engine.encode(text, piece, &mut Tokens::default()).is_err()).collect()
    }

    #[test]
    fn what_is_looked_at_after_a_piece_decides() {
        let engine = Forbidding::new(Box::new(Cutting), &["<end>".to_owned()]);
        let engine = engine.unwrap_or_else(|error| unreachable!("{error}"));
        let is_refused = |text: &str| engine.encode(text, &Piece { context_start: 0, own: 0..3 }, &mut Tokens::default()).is_err();
        for text in ["ab<end> and more", "ab<ende> and more", "x<end>é and more", "abc<end> and more", "ab<ené and more"] {
            let beginnings = text.char_indices().map(|(at, _)| &text[..at]);
            let known: Vec<bool> = beginnings.filter(|text| 3 + engine.reads_past() <= text.len()).map(is_refused).collect();
            assert!(!known.is_empty() && known.iter().all(|&refused| refused == is_refused(text)), "{text}");
        }
    }

    #[test]
    fn a_special_token_is_refused_where_it_starts_though_a_cut_goes_through_it() {
        assert_eq!(refusals("x<end>é"), [true, false]);
        assert_eq!(refusals("éx<end>"), [false, true]);
        assert_eq!(refusals("abc<endé"), [false, false]);
    }
}
