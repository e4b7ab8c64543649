//! Where words begin and end: at ASCII blanks, where what is beside them neither joins with them nor changes what they become, and before
//! what closes a word.

use std::ops::Range;

use super::chars::{Classes, Words as Kind};
use super::closers::Closers;
use crate::engine::words::{WINDOW_BYTES, Words};
use crate::scan::{BLOCK_BYTES, ByteSet, masks};

/// Finds words.
#[derive(Debug)]
pub struct Splitter {
    blanks: ByteSet,
    closers: Closers,
    kind: Kind,
}

impl Splitter {
    pub fn new(classes: &Classes, closers: Closers, kind: Kind) -> Self {
        Self { blanks: ByteSet::ascii(|byte| classes.of_ascii(byte).is_blank()), closers, kind }
    }

    /// Is a word between blanks what closes the word before it? One that stands by itself has its blank.
    pub fn is_closing(&self, word: &[u8]) -> bool {
        self.closers.are_all(word)
    }

    /// Appends words from byte `from` on, where a word or the blanks before one start, and returns where the others start.
    pub fn split(&self, classes: &Classes, text: &str, from: usize, words: &mut Words) -> usize {
        let mut n_bytes = WINDOW_BYTES;
        loop {
            let to = text.len().min(from + n_bytes);
            let next = match self.kind {
                Kind::BetweenBlanks => self.between_blanks(classes, text, from..to, words),
                Kind::AtBlanks | Kind::AtRunsOfBlanks => self.at_blanks(classes, text, from..to, words),
            };
            if next > from {
                return next;
            }
            n_bytes *= 4; // a word that is longer than the window; so all windows together are not much longer than the text
        }
    }

    /// May a word end before the blank at byte `at`, because what comes before lets it?
    fn is_end(classes: &Classes, text: &str, at: usize) -> bool {
        let byte = text.as_bytes()[at - 1];
        if byte < 128 {
            classes.of_ascii(byte).may_end()
        } else {
            text[..at].chars().next_back().is_some_and(|character| classes.of(character).may_end())
        }
    }

    /// Is byte `at` the first of a run of blanks, after a word that may end there?
    pub fn is_cut(&self, classes: &Classes, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        self.blanks.contains(bytes[at]) && !self.blanks.contains(bytes[at - 1]) && Self::is_end(classes, text, at)
    }

    fn between_blanks(&self, classes: &Classes, text: &str, window: Range<usize>, words: &mut Words) -> usize {
        let n_before = words.spans.len();
        let mut n_ended = n_before;
        self.each_block(text.as_bytes(), &window, words, |spans, at, block| {
            each_bit(block.starts, |i| spans.push(((at + i - (block.alone >> i & 1) as usize) as u32, 0)));
            each_bit(block.ends, |i| {
                spans[n_ended].1 = (at + i) as u32;
                n_ended += 1;
            });
        });
        let is_last = window.end == text.len();
        if let (true, Some(last)) = (is_last, words.spans[n_ended..].first_mut()) {
            // No blank after it, so that the masks did not know.
            let is_alone = last.0 > 0 && self.is_closing(&text.as_bytes()[last.0 as usize..]);
            *last = (last.0 - u32::from(is_alone), window.end as u32);
            n_ended += 1;
        }
        let unfinished = words.spans.get(n_ended).map(|&(start, _)| start as usize);
        words.spans.truncate(n_ended);
        let is_open = Self::join(classes, text, words, n_before);
        if is_last {
            return window.end;
        }
        if is_open && words.spans.len() > n_before {
            return words.spans.pop().map_or(window.start, |(start, _)| start as usize);
        }
        // The last blank may belong to a word that joins with it.
        unfinished.map_or(window.end - 1, |start| Self::start(classes, text, start))
    }

    /// Joins words from the `first` on that are one, because the blank between them is not to be had by itself. Says whether the last
    /// one may go on.
    fn join(classes: &Classes, text: &str, words: &mut Words, first: usize) -> bool {
        let (mut n_words, mut is_open) = (first, false);
        for i in first..words.spans.len() {
            let (start, end) = words.spans[i];
            if is_open {
                words.spans[n_words - 1].1 = end;
            } else {
                words.spans[n_words] = (Self::start(classes, text, start as usize) as u32, end);
                n_words += 1;
            }
            is_open = !Self::is_end(classes, text, end as usize);
        }
        words.spans.truncate(n_words);
        is_open
    }

    /// Where the word at byte `at` starts: with the blank before it, where it is not to be had without.
    #[inline]
    fn start(classes: &Classes, text: &str, at: usize) -> usize {
        let byte = text.as_bytes()[at];
        let may_start = if byte < 128 {
            classes.of_ascii(byte).may_start()
        } else {
            text[at..].chars().next().is_some_and(|character| classes.of(character).may_start())
        };
        at - usize::from(!may_start && at > 0)
    }

    fn at_blanks(&self, classes: &Classes, text: &str, window: Range<usize>, words: &mut Words) -> usize {
        let mut start = window.start;
        self.each_block(text.as_bytes(), &window, words, |spans, at, block| {
            each_bit(block.ends, |i| {
                if Self::is_end(classes, text, at + i) {
                    spans.push((start as u32, (at + i) as u32));
                    start = at + i;
                }
            });
        });
        if window.end < text.len() {
            return start;
        }
        words.spans.push((start as u32, window.end as u32));
        window.end
    }

    /// Calls back with the words, the place and the [`Block`] of each 64 bytes of a window; before it there are blanks. After it there are
    /// none: closers whose blank is not seen yet stay with their word, and are read again with it.
    #[inline]
    fn each_block(&self, text: &[u8], window: &Range<usize>, words: &mut Words, mut each: impl FnMut(&mut Vec<(u32, u32)>, usize, Block)) {
        words.masks.clear();
        masks(&text[window.clone()], &[self.blanks, self.closers.letters, self.closers.ends], &mut words.masks);
        let (mut after_blank, mut after_letter) = (1, 0);
        for (i, &[blanks, letters, closers]) in words.masks.iter().enumerate() {
            let at = window.start + i * BLOCK_BYTES;
            let &[next_blanks, _, next_closers] = words.masks.get(i + 1).unwrap_or(&[0; 3]);
            let inside = u64::MAX >> BLOCK_BYTES.saturating_sub(window.end - at);
            let (blank_before, letter_before) = (blanks << 1 | after_blank, letters << 1 | after_letter);
            (after_blank, after_letter) = (blanks >> 63, letters >> 63);
            let mut pairs = closers & ahead(closers, next_closers, 1) & ahead(blanks, next_blanks, 2) & (letter_before | blank_before);
            each_bit(pairs, |i| pairs &= !(u64::from(!self.closers.is_pair(text[at + i], text[at + i + 1])) << i));
            let closing = closers & ahead(blanks, next_blanks, 1) | pairs;
            let closed = closing & letter_before;
            let block = Block {
                starts: !blanks & blank_before & inside | closed,
                ends: blanks & !blank_before | closed,
                alone: closing & blank_before & !u64::from(at == 0),
            };
            each(&mut words.spans, at, block);
        }
    }
}

/// What begins and ends in 64 bytes, a bit for each.
struct Block {
    /// Words, after blanks, and what closes them.
    starts: u64,
    /// Words, before blanks or what closes them.
    ends: u64,
    /// Words between blanks that could be taken for what closes another: they have the blank before them.
    alone: u64,
}

/// What is `n` bytes further on in this block and the next.
#[inline]
fn ahead(mask: u64, next: u64, n: u32) -> u64 {
    mask >> n | next << (64 - n)
}

#[inline]
fn each_bit(mut mask: u64, mut each: impl FnMut(usize)) {
    while mask != 0 {
        each(mask.trailing_zeros() as usize);
        mask &= mask - 1;
    }
}
