//! Where words may be cut: between two characters beyond ASCII that no token reaches across, for then no merge does, and both sides are
//! merged as if alone.
//!
//! Scripts without spaces have words as long as a clause, of which none comes twice. Most vocabularies have few tokens of several
//! characters of other scripts than Latin, so that the parts are short and known.

use ahash::AHashSet;

use crate::engine::cache::is_short;
use crate::engine::merges::{NONE, Pairs};

/// The first byte of a character beyond ASCII, at least.
const LEAD: u8 = 0xC2;

/// Bytes on each side of a border that are compared, where a token has not all of the characters there; any text has so many.
const SIDE_BYTES: usize = 2;

/// Bits of the filter: the last byte before a border and the first two after it, as far as they differ.
const FILTER_BITS: usize = 6 + 6 + 6;

/// The borders of characters beyond ASCII that tokens reach across.
#[derive(Debug)]
pub struct Borders {
    /// The characters on both sides, where the token has all of them: nearly always.
    whole: Pairs,
    /// What it has on both sides otherwise, up to [`SIDE_BYTES`] each.
    parts: AHashSet<u64>,
    /// A bit for the three bytes around each of these borders, or all that they could be.
    filter: Box<[u64]>,
}

impl Borders {
    /// Those in these tokens.
    pub fn of(tokens: impl Iterator<Item = Box<[u8]>>) -> Self {
        let (mut whole, mut parts) = (Vec::new(), AHashSet::new());
        let mut filter: Box<[u64]> = vec![0; (1 << FILTER_BITS) / 64].into();
        for token in tokens {
            for at in (1..token.len()).filter(|&at| token[at] >= LEAD && token[at - 1] >= 0x80) {
                let (left, right) = token.split_at(at);
                if let (Some(last), Some(first)) = (last_character(left), first_character(right)) {
                    whole.push((last, first));
                    continue;
                }
                let seconds = right.get(1).map_or(0x80..=0xBF, |&second| second..=second);
                seconds.for_each(|second| {
                    let (word, bit) = filter_bit(left[at - 1], right[0], second);
                    filter[word] |= bit;
                });
                parts.insert(sides(&left[at.saturating_sub(SIDE_BYTES)..], &right[..right.len().min(SIDE_BYTES)]));
            }
        }
        let mut pairs = Pairs::new(whole.len());
        for (last, first) in whole {
            pairs.insert(last.into(), first.into(), 0);
        }
        Self { whole: pairs, parts, filter }
    }

    /// Does no token reach across byte `at`, between these characters?
    #[inline]
    fn is_free(&self, text: &[u8], at: usize, last: char, first: char) -> bool {
        let (word, bit) = filter_bit(text[at - 1], text[at], text[at + 1]);
        self.whole.get(last.into(), first.into()) == NONE && (self.filter[word] & bit == 0 || self.is_free_of_parts(text, at))
    }

    #[cold]
    fn is_free_of_parts(&self, text: &[u8], at: usize) -> bool {
        let has = |n_left, n_right| self.parts.contains(&sides(&text[at - n_left..at], &text[at..at + n_right]));
        !(1..=SIDE_BYTES).any(|n_left| (1..=SIDE_BYTES).any(|n_right| has(n_left, n_right)))
    }

    /// Appends the word from byte `start` to `end`, in parts where it is long.
    #[inline]
    pub fn push(&self, text: &str, start: usize, end: usize, words: &mut Vec<(u32, u32)>) {
        let mut from = start;
        if !is_short(end - start) {
            let mut before = '\0';
            for (at, character) in text[start..end].char_indices() {
                let at = start + at;
                if !before.is_ascii() && !character.is_ascii() && self.is_free(text.as_bytes(), at, before, character) {
                    words.push((from as u32, at as u32));
                    from = at;
                }
                before = character;
            }
        }
        words.push((from as u32, end as u32));
    }
}

/// The character beyond ASCII that these bytes end with, if all of it is there.
fn last_character(bytes: &[u8]) -> Option<char> {
    let start = bytes.iter().rposition(|&byte| byte >= LEAD)?;
    only(&bytes[start..])
}

/// The character beyond ASCII that these bytes begin with, if all of it is there.
fn first_character(bytes: &[u8]) -> Option<char> {
    let end = bytes.iter().skip(1).position(|&byte| !(0x80..0xC0).contains(&byte)).map_or(bytes.len(), |n_later| n_later + 1);
    only(&bytes[..end])
}

fn only(bytes: &[u8]) -> Option<char> {
    let mut characters = std::str::from_utf8(bytes).ok()?.chars();
    characters.next().filter(|character| !character.is_ascii() && characters.next().is_none())
}

/// Where in the filter the bit is of a byte before a border and two after it.
#[inline]
fn filter_bit(last: u8, first: u8, second: u8) -> (usize, u64) {
    let bits = usize::from(last & 0x3F) << 12 | usize::from(first & 0x3F) << 6 | usize::from(second & 0x3F);
    (bits / 64, 1 << (bits % 64))
}

/// Up to [`SIDE_BYTES`] on both sides, and how many they are.
#[inline]
fn sides(left: &[u8], right: &[u8]) -> u64 {
    let number = |bytes: &[u8]| bytes.iter().fold(bytes.len() as u64, |number, &byte| number << 8 | u64::from(byte));
    number(left) << 32 | number(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(tokens: &[&[u8]], word: &str) -> Vec<String> {
        let mut words = Vec::new();
        Borders::of(tokens.iter().map(|&token| token.into())).push(word, 0, word.len(), &mut words);
        words.into_iter().map(|(start, end)| word[start as usize..end as usize].to_owned()).collect()
    }

    #[test]
    fn a_word_is_cut_where_no_token_could_lie_across() {
        let word = "\u{4e2d}\u{6587}\u{5b57}\u{7b26}\u{4e2d}\u{6587}";
        let bytes = |text: &str| text.as_bytes().to_vec();
        assert_eq!(parts(&[], word).len(), 6);
        assert_eq!(parts(&[&bytes("\u{4e2d}\u{6587}")], word).len(), 4);
        assert_eq!(parts(&[&bytes("\u{4e2d}\u{6587}\u{5b57}\u{7b26}")], word), ["\u{4e2d}\u{6587}\u{5b57}\u{7b26}", "\u{4e2d}\u{6587}"]);
        let (left, right) = (bytes("\u{5b57}"), bytes("\u{7b26}"));
        for n_left in 1..=3 {
            for n_right in 1..=3 {
                let token = [&left[3 - n_left..], &right[..n_right]].concat();
                assert!(parts(&[&token], word).contains(&"\u{5b57}\u{7b26}".to_owned()), "{token:?}");
            }
        }
        assert_eq!(parts(&[&bytes("\u{4e2d}\u{5b57}")], word).len(), 6, "another pair");
        assert_eq!(parts(&[], "\u{4e2d}\u{6587}").len(), 1, "a short word is known as a whole");
        assert_eq!(
            parts(&[], "ab \u{4e2d}\u{6587}cd\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"),
            ["ab \u{4e2d}", "\u{6587}cd\u{e9}", "\u{e9}", "\u{e9}", "\u{e9}", "\u{e9}"]
        );
    }
}
