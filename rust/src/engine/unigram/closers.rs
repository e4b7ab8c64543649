//! What ends words: punctuation after a letter, which is read apart from the word before it.
//!
//! Texts have most of their words once alone and once each before a comma, a full stop and a quote. As words of their own, these would
//! be read anew; in two parts, word and closers are known.
//!
//! Why the tokens are the same: no piece holds a letter and then a closer, so every path goes through the place between them, and the
//! best path up to there is that of the word alone. After it, sums are those of the closers, each plus the score of the word. Where there
//! is one path only, or where the better one is better by more than sums can be rounded, it is the same path after every word. And no
//! closer is unknown, for an unknown one would be one token with an unknown letter.

use super::chain::Chain;
use super::chars::{Class, Classes};
use super::pieces::Pieces;
use crate::scan::ByteSet;

/// Paths whose scores differ by more are told apart after a word of any length: it has less than 2^32 bytes, so that with scores up to
/// [`USUAL_SCORE`] sums are below 1e12, and rounded by less than 1e-3.
const SAFE_DIFFERENCE: f64 = 1e-2;
/// Where a score is larger, no two closers are read apart from a word; real ones are below 20 or so.
const USUAL_SCORE: f64 = 100.0;

/// Which bytes close words, and after which.
#[derive(Debug)]
pub struct Closers {
    /// Letters that closers are read apart from.
    pub letters: ByteSet,
    /// The closers.
    pub ends: ByteSet,
    /// By closer: after which others it may come, a bit for each ASCII byte.
    follows: Box<[u128; 128]>,
}

impl Closers {
    pub fn new(chain: &Chain, classes: &Classes, pieces: &Pieces, vocabulary: &[(&str, f64)]) -> Self {
        let is_border = |class: Class| class.may_start() && class.may_end();
        let is_plain = |byte: u8| classes.of_ascii(byte).is_plain() && is_border(classes.of_ascii(byte));
        let is_capital = |byte: u8| {
            let class = classes.of_ascii(byte);
            class.is_capital() && is_border(class) && is_plain(byte.to_ascii_lowercase())
        };
        let letters = ByteSet::ascii(|byte| byte.is_ascii_alphabetic() && (is_plain(byte) || is_capital(byte)));
        let is_letter: [bool; 256] = std::array::from_fn(|byte| letters.contains(byte as u8));
        // A character that joins the letter after it could take it along into something else.
        let can_close =
            |byte: u8| classes.keeps_prepended() && byte.is_ascii_punctuation() && is_plain(byte) && pieces.known_score(&[byte]).is_some();
        let mut is_closer: [bool; 256] = std::array::from_fn(|byte| can_close(byte as u8));
        for (piece, _) in vocabulary {
            for pair in piece.as_bytes().windows(2) {
                is_closer[usize::from(pair[1])] &= !is_letter[usize::from(pair[0])];
            }
        }
        let bytes: Vec<u8> = (0..128).filter(|&byte| is_closer[usize::from(byte)]).collect();
        let mut follows = Box::new([0; 128]);
        let is_usual = vocabulary.iter().all(|(_, score)| score.abs() <= USUAL_SCORE);
        for &last in bytes.iter().filter(|_| is_usual) {
            let before = bytes.iter().filter(|&&first| !chain.has_pair(&[first, last]) && is_safe(pieces, [first, last]));
            follows[usize::from(last)] = before.fold(0, |all, &first| all | 1 << first);
        }
        Self { letters, ends: ByteSet::ascii(|byte| is_closer[usize::from(byte)]), follows }
    }

    /// Are these closers that are read apart from the word before them?
    #[inline]
    pub fn are_all(&self, text: &[u8]) -> bool {
        match *text {
            [closer] => self.ends.contains(closer),
            [first, last] => self.is_pair(first, last),
            _ => false,
        }
    }

    /// May a closer come after another one?
    #[inline]
    pub fn is_pair(&self, first: u8, last: u8) -> bool {
        first < 128 && self.follows.get(usize::from(last)).is_some_and(|follows| follows >> first & 1 != 0)
    }
}

/// Are the pieces of two closers the same after every word?
fn is_safe(pieces: &Pieces, both: [u8; 2]) -> bool {
    let Some(apart) = both.iter().map(|&byte| pieces.known_score(&[byte])).sum::<Option<f64>>() else { return false };
    match (pieces.has(&both), pieces.known_score(&both)) {
        (true, Some(joined)) => (joined - apart).abs() > SAFE_DIFFERENCE,
        (is_piece, _) => !is_piece,
    }
}
