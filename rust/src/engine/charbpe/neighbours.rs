//! Which characters are side by side in a token.

use crate::engine::merges::{NONE, Pairs};
use crate::engine::metaspace::MARKER;

/// Pairs of characters. A blank stands for the marker too.
#[derive(Debug)]
pub struct Neighbours {
    /// By the first and the second of two ASCII characters.
    ascii: Box<[[bool; 128]]>,
    others: Pairs,
}

impl Neighbours {
    /// Those of these tokens.
    pub fn of<'t>(tokens: impl Iterator<Item = &'t str>) -> Self {
        let (mut ascii, mut others) = (vec![[false; 128]; 128], Vec::new());
        for token in tokens {
            for (first, second) in token.chars().map(blank).zip(token.chars().map(blank).skip(1)) {
                if first.is_ascii() && second.is_ascii() {
                    ascii[first as usize][second as usize] = true;
                } else {
                    others.push((first, second));
                }
            }
        }
        others.sort_unstable();
        others.dedup();
        let mut pairs = Pairs::new(others.len());
        for (first, second) in others {
            pairs.insert(first.into(), second.into(), 0);
        }
        Self { ascii: ascii.into(), others: pairs }
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
            self.ascii[first as usize][second as usize]
        } else {
            self.others.get(first.into(), second.into()) != NONE
        }
    }

    /// Appends the words of a text from byte `from` on, about `n_bytes` of them, and returns where the next one starts.
    pub fn split(&self, text: &str, from: usize, n_bytes: usize, words: &mut Vec<(u32, u32)>) -> usize {
        let Some(first) = text[from..].chars().next() else { return from };
        let bytes = text.as_bytes();
        let (mut start, mut at, mut before) = (from, from + first.len_utf8(), blank(first));
        loop {
            if bytes[at - 1].is_ascii() {
                at = self.end_of_joined(bytes, at - 1);
                before = char::from(bytes[at - 1]);
            }
            let Some(next) = text[at..].chars().next() else { break };
            let character = blank(next);
            if !self.holds(before, character) {
                words.push((start as u32, at as u32));
                start = at;
                if at - from >= n_bytes {
                    return at;
                }
            }
            (at, before) = (at + next.len_utf8(), character);
        }
        words.push((start as u32, text.len() as u32));
        text.len()
    }

    /// Where the run of ASCII characters ends that begins at byte `at` and in which each is a neighbour of the next.
    #[inline]
    fn end_of_joined(&self, text: &[u8], at: usize) -> usize {
        let mut before = &self.ascii[usize::from(text[at])];
        let rest = &text[at + 1..];
        let n_joined = rest.iter().position(|&next| {
            let joins = next.is_ascii() && before[usize::from(next & 127)];
            before = &self.ascii[usize::from(next & 127)];
            !joins
        });
        at + 1 + n_joined.unwrap_or(rest.len())
    }
}

#[inline]
fn blank(character: char) -> char {
    if character == MARKER { ' ' } else { character }
}
