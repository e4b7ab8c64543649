//! BPE on characters, as `SentencePiece` has it: Llama 2, Mistral, Gemma and what is built like them. Blanks are markers in the vocabulary,
//! and characters that it does not have become the tokens of their bytes.
//!
//! To `tokenizers` a text is one word. Here it is cut wherever two characters follow each other that are neighbours in no token: no merge
//! goes across, so both sides are merged as if alone.

mod load;
mod neighbours;
#[cfg(test)]
mod tests;
mod ways;

use load::{Prefix, Vocabulary};

use super::Tokens;
use super::aligned::{Aligned, spans};
use super::cache::Key;
use super::definition::Definition;
use super::merges::Model;
use super::metaspace::MARKER;
use super::words::{Edge, Stretch, WINDOW_BYTES, WordModel, Words};

/// A tokenizer of characters and byte tokens.
#[derive(Debug)]
pub struct CharBpe {
    vocabulary: Vocabulary,
    prefix: Prefix,
}

impl CharBpe {
    /// The tokenizer of a definition.
    ///
    /// # Errors
    /// What of it the engine does not know.
    pub fn new(definition: &Definition<'_>) -> Result<Self, String> {
        let prefix = load::prefix(definition)?;
        Ok(Self { vocabulary: load::vocabulary(&definition.model::<Model<'_>>()?)?, prefix })
    }

    /// A word as it stands.
    #[inline]
    fn read_plain(&self, word: &str, tokens: &mut Tokens) {
        let mut start = 0;
        self.vocabulary.tokenize(word.as_bytes(), |id, length| {
            let end = start + length;
            tokens.push(id, (word.floor_char_boundary(start) as u32, word.ceil_char_boundary(end) as u32));
            start = end;
        });
    }

    /// A word that has markers, or before which one is put.
    #[cold]
    fn read_marked(&self, word: &str, puts_marker: bool, tokens: &mut Tokens) {
        let mut aligned = Aligned::with_capacity(word.len() + 1);
        if let (true, Some(first)) = (puts_marker, spans(word).next()) {
            aligned.push(' ', first);
        }
        for (character, span) in word.chars().zip(spans(word)) {
            aligned.push(if character == MARKER { ' ' } else { character }, span);
        }
        let mut pieces = aligned.pieces();
        self.vocabulary.tokenize(aligned.text.as_bytes(), |id, length| tokens.push(id, pieces.next(length).1));
    }

    fn is_marked(text: &str) -> bool {
        text.starts_with([' ', MARKER])
    }
}

impl WordModel for CharBpe {
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        self.vocabulary.neighbours.split(stretch.text, from, WINDOW_BYTES, &mut words.spans)
    }

    #[inline]
    fn expect(&self, key: Key) {
        self.vocabulary.expect(key);
    }

    #[inline]
    fn single_token(&self, word: &str, key: Key) -> Option<(u32, (u32, u32))> {
        Some((self.vocabulary.single(key)?, (0, word.len() as u32)))
    }

    fn tokenize(&self, word: &str, tokens: &mut Tokens) {
        if word.contains(MARKER) {
            self.read_marked(word, false, tokens);
        } else {
            self.read_plain(word, tokens);
        }
    }

    fn reads_first_apart(&self, before: Edge) -> bool {
        match self.prefix {
            Prefix::None => false,
            Prefix::First => before == Edge::Document,
            Prefix::WhereNone | Prefix::Always => before != Edge::Cut,
        }
    }

    fn tokenize_first(&self, word: &str, _before: Edge, tokens: &mut Tokens) {
        self.read_marked(word, self.prefix == Prefix::Always || !Self::is_marked(word), tokens);
    }

    fn is_cut(&self, text: &str, at: usize) -> bool {
        self.vocabulary.neighbours.is_cut(text, at)
    }

    fn explain(&self) -> String {
        "engine: charbpe (BPE on characters and bytes; words between characters that no token has side by side)\n\
         reading: long documents are read in parts, cut between words"
            .into()
    }
}
