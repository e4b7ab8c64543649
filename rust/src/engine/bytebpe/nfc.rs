//! Canonical composition (NFC) of the stretches of a text that it may change.
//!
//! A character is at rest where composition neither changes it nor joins it to what comes before: a starter that passes the quick check.
//! What is not at rest may change itself, its neighbours of the same kind, and the starter before them, but nothing else.
//!
//! **Borders.** A border is a place between a letter and no letter, or a number and no number, where the characters on both sides and the one
//! after them are at rest. Those on its sides are then the same before and after composition, and stay neighbours. All patterns end a match
//! there, whatever else the text holds: what takes a letter (or a number) takes letters (numbers) up to the end of their run, or is a
//! contraction, which ends with a letter. And no match before a border sees what comes after the first character behind it: runs end at
//! it, and blanks at the letter or number before it. So a stretch between borders splits into the same matches alone as in its text, before
//! composition and after it.

use tokenizers::NormalizedString;
use tokenizers::tokenizer::normalizer::Range;
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_normalization_alignments::{IsNormalized, is_nfc_quick};

use super::split::{Class, Splitter};
use crate::scan::CharTable;

/// Finds what composition may change.
#[derive(Debug)]
pub struct Composition {
    moves: CharTable<bool>,
}

impl Composition {
    pub fn new() -> Self {
        let is_at_rest =
            |character| canonical_combining_class(character) == 0 && is_nfc_quick(std::iter::once(character)) == IsNormalized::Yes;
        Self { moves: CharTable::new(move |character| !is_at_rest(character)) }
    }

    /// May composition change this character, or join it to the one before?
    #[inline]
    fn moves(&self, character: char) -> bool {
        !character.is_ascii() && self.moves.get(character)
    }

    /// The first character that composition may change, and where it stands.
    #[inline]
    pub fn first_moving(&self, text: &str) -> Option<usize> {
        if text.is_ascii() {
            return None;
        }
        text.char_indices().find(|&(_, character)| self.moves(character)).map(|(at, _)| at)
    }

    /// Is there a border at byte `at`, which is inside the text and on a character's edge?
    pub fn is_border(&self, splitter: &Splitter, text: &str, at: usize) -> bool {
        let (left, mut right) = (text[..at].chars().next_back(), text[at..].chars());
        let (Some(left), Some(first), second) = (left, right.next(), right.next()) else { return false };
        let (class, next) = (splitter.class(left), splitter.class(first));
        matches!(class, Class::Letter | Class::Number)
            && class != next
            && ![Some(left), Some(first), second].into_iter().flatten().any(|character| self.moves(character))
    }

    /// The first border after byte `from`, or the end of the text.
    pub fn next_border(&self, splitter: &Splitter, text: &str, from: usize) -> usize {
        let mut places = text[from..].char_indices().skip(1).map(|(at, _)| from + at);
        places.find(|&at| self.is_border(splitter, text, at)).unwrap_or(text.len())
    }
}

/// A text in NFC.
#[derive(Debug)]
pub struct Composed(NormalizedString);

impl Composed {
    pub fn new(text: &str) -> Self {
        let mut normalized = NormalizedString::from(text);
        normalized.nfc();
        Self(normalized)
    }

    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Where a range of bytes of the composed text, not empty, came from.
    pub fn source(&self, start: usize, end: usize) -> (u32, u32) {
        let source = self.0.convert_offsets(Range::Normalized(start..end)).unwrap_or_default();
        (source.start as u32, source.end as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_rest_is_left_alone_beside_anything() {
        let composition = Composition::new();
        let resting = (0..0x11_0000).filter_map(char::from_u32).filter(|&character| !composition.moves(character));
        for neighbour in ["", "e", "=", "\u{915}", "\u{1100}", "\u{ac00}", "e\u{301}", "\u{9c7}"] {
            let text: String = resting.clone().flat_map(|character| neighbour.chars().chain([character])).collect();
            let composed_neighbour = Composed::new(neighbour);
            let expected: String = resting.clone().flat_map(|character| composed_neighbour.text().chars().chain([character])).collect();
            assert!(Composed::new(&text).text() == expected, "{neighbour:?}");
        }
    }
}
