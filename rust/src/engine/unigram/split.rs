//! Where words begin and end: at ASCII blanks, where what is beside them neither joins with them nor changes what they become.

use super::chars::{Classes, Words as Kind};
use crate::engine::words::{WINDOW_BYTES, Words};
use crate::scan::{BLOCK_BYTES, ByteSet, masks};

/// Finds words.
#[derive(Debug)]
pub struct Splitter {
    blanks: ByteSet,
    kind: Kind,
}

impl Splitter {
    pub fn new(classes: &Classes, kind: Kind) -> Self {
        Self { blanks: ByteSet::ascii(|byte| classes.of_ascii(byte).is_blank()), kind }
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

    fn between_blanks(&self, classes: &Classes, text: &str, window: std::ops::Range<usize>, words: &mut Words) -> usize {
        let is_last = window.end == text.len();
        let (mut start, mut is_open) = (None, false);
        let n_before = words.spans.len();
        let mut masks = std::mem::take(&mut words.masks);
        self.each_change(&text.as_bytes()[window.clone()], &mut masks, |at| {
            let at = window.start + at;
            let Some(from) = start.take() else {
                start = Some(Self::start(classes, text, at));
                return;
            };
            end_word(words, is_open, from, at);
            is_open = !Self::is_end(classes, text, at);
        });
        words.masks = masks;
        if is_last {
            if let Some(start) = start {
                end_word(words, is_open, start, window.end);
            }
            return window.end;
        }
        if is_open && words.spans.len() > n_before {
            return words.spans.pop().map_or(window.start, |(start, _)| start as usize);
        }
        // The last blank may belong to a word that joins with it.
        start.unwrap_or(window.end - 1)
    }

    /// Where the word at byte `at` starts: with the blank before it, where it is not to be had without.
    fn start(classes: &Classes, text: &str, at: usize) -> usize {
        let byte = text.as_bytes()[at];
        let may_start = if byte < 128 {
            classes.of_ascii(byte).may_start()
        } else {
            text[at..].chars().next().is_some_and(|character| classes.of(character).may_start())
        };
        at - usize::from(!may_start && at > 0)
    }

    fn at_blanks(&self, classes: &Classes, text: &str, window: std::ops::Range<usize>, words: &mut Words) -> usize {
        let (mut start, mut in_blanks) = (window.start, true);
        let mut masks = std::mem::take(&mut words.masks);
        self.each_change(&text.as_bytes()[window.clone()], &mut masks, |at| {
            in_blanks = !in_blanks;
            let at = window.start + at;
            if in_blanks && Self::is_end(classes, text, at) {
                words.spans.push((start as u32, at as u32));
                start = at;
            }
        });
        words.masks = masks;
        if window.end < text.len() {
            return start;
        }
        words.spans.push((start as u32, window.end as u32));
        window.end
    }

    /// Calls back at every byte where a word follows blanks or blanks follow a word; before the first byte there are blanks.
    #[inline]
    fn each_change(&self, bytes: &[u8], block_masks: &mut Vec<[u64; 3]>, mut change: impl FnMut(usize)) {
        block_masks.clear();
        masks(bytes, &[self.blanks; 3], block_masks);
        let mut carry = 1;
        for (block, &[blanks, ..]) in block_masks.iter().enumerate() {
            let mut changes = blanks ^ (blanks << 1 | carry);
            carry = blanks >> 63;
            if (block + 1) * BLOCK_BYTES > bytes.len() {
                changes &= (1 << (bytes.len() % BLOCK_BYTES)) - 1;
            }
            while changes != 0 {
                change(block * BLOCK_BYTES + changes.trailing_zeros() as usize);
                changes &= changes - 1;
            }
        }
    }
}

/// A word ends; where the one before it could not, they are one.
fn end_word(words: &mut Words, is_open: bool, start: usize, end: usize) {
    match words.spans.last_mut() {
        Some(last) if is_open => last.1 = end as u32,
        _ => words.spans.push((start as u32, end as u32)),
    }
}
