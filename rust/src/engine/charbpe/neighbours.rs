//! Which characters are side by side in a token.

use crate::engine::merges::{NONE, Pairs};
use crate::engine::metaspace::MARKER;

/// Pairs of characters. A blank stands for the marker too.
#[derive(Debug)]
pub struct Neighbours {
    /// By the first of two ASCII characters: a bit for each second one.
    ascii: Box<[u128; 128]>,
    others: Pairs,
}

impl Neighbours {
    /// Those of these tokens.
    pub fn of<'t>(tokens: impl Iterator<Item = &'t str>) -> Self {
        let (mut ascii, mut others) = (Box::new([0; 128]), Vec::new());
        for token in tokens {
            for (first, second) in token.chars().map(blank).zip(token.chars().map(blank).skip(1)) {
                if first.is_ascii() && second.is_ascii() {
                    ascii[first as usize] |= 1 << second as u32;
                } else {
                    others.push((first, second));
                }
            }
        }
        others.sort_unstable();
        others.dedup();
        let mut pairs = Pairs::new(others.len());
        others.into_iter().for_each(|(first, second)| pairs.insert(first.into(), second.into(), 0));
        Self { ascii, others: pairs }
    }

    /// May a text be cut at byte `at`, a character boundary inside it?
    pub fn is_cut(&self, text: &str, at: usize) -> bool {
        let (before, after) = text.split_at(at);
        let (Some(first), Some(second)) = (before.chars().next_back(), after.chars().next()) else { return false };
        !self.holds(blank(first), blank(second))
    }

    #[inline]
    fn holds(&self, first: char, second: char) -> bool {
        if first.is_ascii() && second.is_ascii() {
            self.ascii[first as usize] >> second as u32 & 1 != 0
        } else {
            self.others.get(first.into(), second.into()) != NONE
        }
    }

    /// Appends the words of a text from byte `from` on, about `n_bytes` of them, and returns where the next one starts.
    pub fn split(&self, text: &str, from: usize, n_bytes: usize, words: &mut Vec<(u32, u32)>) -> usize {
        let mut characters = text[from..].char_indices();
        let Some((_, first)) = characters.next() else { return from };
        let (mut start, mut before) = (from, blank(first));
        for (at, character) in characters {
            let (at, character) = (from + at, blank(character));
            if !self.holds(before, character) {
                words.push((start as u32, at as u32));
                start = at;
                if at - from >= n_bytes {
                    return at;
                }
            }
            before = character;
        }
        words.push((start as u32, text.len() as u32));
        text.len()
    }
}

#[inline]
fn blank(character: char) -> char {
    if character == MARKER { ' ' } else { character }
}
