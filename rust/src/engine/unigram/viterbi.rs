//! The best segmentation of a text into pieces, as `Unigram::encode_optimized` of `tokenizers` finds it: the same sums in the same order,
//! and of equal ones the first.

use std::hint::select_unpredictable;

use super::pieces::{Pieces, Unit, Walk};
use crate::engine::Tokens;
use crate::engine::metaspace::MARKER;

/// Bytes after a marker that are segmented on the stack; few words are longer than the first number.
const FEW_BYTES: usize = 30;
pub const SHORT_BYTES: usize = 94;

/// No path ends here yet.
const NOWHERE: u32 = u32::MAX;

/// The best path that ends at a byte.
#[derive(Debug, Clone, Copy)]
pub struct End {
    score: f64,
    /// Where its last piece starts, or [`NOWHERE`].
    start: u32,
    id: u32,
}

pub const NO_END: End = End { score: f64::NEG_INFINITY, start: NOWHERE, id: 0 };

/// The end of nothing, where all paths begin.
pub const ORIGIN: End = End { score: 0.0, ..NO_END };

impl End {
    /// Where the last piece starts, where a path ends here.
    #[inline]
    pub fn start(&self) -> Option<usize> {
        (self.start != NOWHERE).then_some(self.start as usize)
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// The text before byte `n_bytes` is gone; paths begin there.
    pub fn shift(&mut self, n_bytes: usize) {
        self.start = match self.start() {
            Some(start) if start >= n_bytes => (start - n_bytes) as u32,
            _ => NOWHERE,
        };
    }

    /// No score is as low as that of [`NO_END`], so the first path is always better.
    #[inline]
    fn offer(&mut self, score: f64, path: Path, id: u32) {
        let score = score + path.score;
        let is_better = score > self.score;
        self.score = select_unpredictable(is_better, score, self.score);
        self.start = select_unpredictable(is_better, path.at, self.start);
        self.id = select_unpredictable(is_better, id, self.id);
    }
}

/// A path that is to be extended.
#[derive(Clone, Copy)]
struct Path {
    score: f64,
    /// Where it ends.
    at: u32,
}

impl Pieces {
    /// Extends the best path to byte `at` of `text` by every piece that follows, and returns where the next character starts. The text
    /// starts at end `n_before`.
    #[inline]
    pub fn extend(&self, text: &[u8], at: usize, n_before: usize, ends: &mut [End]) -> usize {
        let (text, here) = (&text[at..], n_before + at);
        let path = Path { score: ends[here].score, at: here as u32 };
        let ends = &mut ends[here + 1..];
        let n_char_bytes = char_bytes(text[0]);
        if !self.extend_by_pieces(path, text, n_char_bytes, ends) {
            ends[n_char_bytes - 1].offer(self.unknown_score, path, self.unknown_id);
        }
        at + n_char_bytes
    }

    /// Extends a path by every piece that `text` starts with, and says whether its first character is one; the first end is that after
    /// its first byte.
    #[inline]
    fn extend_by_pieces(&self, path: Path, text: &[u8], n_char_bytes: usize, ends: &mut [End]) -> bool {
        let (mut walk, mut is_known) = (self.root(), false);
        for i in 0..n_char_bytes {
            let Some(unit) = self.step(walk, text[i]) else { return false };
            if unit.is_tailed() {
                return self.extend_by_tail(path, unit, &text[i + 1..], &mut ends[i..]) == Some(n_char_bytes - i - 1);
            }
            ends[i].offer(unit.score, path, unit.id());
            (walk, is_known) = (unit.walk(), unit.is_piece());
        }
        self.extend_from(path, walk, &text[n_char_bytes..], &mut ends[n_char_bytes..]);
        is_known
    }

    /// Extends a path by every piece that goes on from some node as `text` does.
    #[inline]
    fn extend_from(&self, path: Path, mut walk: Walk, text: &[u8], ends: &mut [End]) {
        for (i, &byte) in text[..text.len().min(ends.len())].iter().enumerate() {
            let Some(unit) = self.step(walk, byte) else { return };
            if unit.is_tailed() {
                self.extend_by_tail(path, unit, &text[i + 1..], &mut ends[i..]);
                return;
            }
            ends[i].offer(unit.score, path, unit.id());
            walk = unit.walk();
        }
    }

    /// Extends a path by the piece whose rest is the tail of a node, where the text goes on like it, and returns the tail's bytes. The
    /// first end is that of the node.
    #[inline]
    fn extend_by_tail(&self, path: Path, unit: &Unit, text: &[u8], ends: &mut [End]) -> Option<usize> {
        let n_bytes = self.tail(unit, text)?;
        ends[n_bytes].offer(unit.score, path, unit.id());
        Some(n_bytes)
    }

    /// Appends the tokens of a text of at most [`SHORT_BYTES`] and a marker before it where `is_marked`; `span` says where a range of it
    /// came from: 0 is before the marker, 1 is after it, 2 is after the next byte, and so on.
    #[inline]
    pub fn short(&self, is_marked: bool, text: &[u8], span: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        if text.len() <= FEW_BYTES {
            self.short_in(&mut [NO_END; FEW_BYTES + 2], is_marked, text, span, tokens);
        } else {
            self.short_in(&mut [NO_END; SHORT_BYTES + 2], is_marked, text, span, tokens);
        }
    }

    #[inline]
    fn short_in(&self, ends: &mut [End], is_marked: bool, text: &[u8], span: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        let ends = &mut ends[..text.len() + 2];
        let origin = usize::from(!is_marked);
        ends[origin] = ORIGIN;
        if is_marked {
            // The walk over the marker is the same for every word.
            let marker = self.marker;
            let known = marker.is_piece().then(|| (marker.score, marker.id()));
            let (score, id) = known.unwrap_or((self.unknown_score, self.unknown_id));
            let path = Path { score: 0.0, at: 0 };
            ends[1].offer(score, path, id);
            self.extend_from(path, marker.walk(), text, &mut ends[2..]);
        }
        let mut at = 0;
        while at < text.len() {
            at = self.extend(text, at, 1, ends);
        }
        self.write(ends, origin, text, span, tokens);
    }

    #[inline]
    fn write(&self, ends: &[End], origin: usize, text: &[u8], span: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        let n_before = tokens.len();
        let mut at = text.len() + 1;
        while at > origin {
            let End { start, mut id, .. } = ends[at];
            let mut start = start as usize;
            if id == self.unknown_id {
                while start > origin && ends[start].id == self.unknown_id {
                    start = ends[start].start as usize;
                }
                id = self.unknown_run(start, at, text);
            }
            tokens.push(id, span(start, at));
            at = start;
        }
        tokens.ids_mut()[n_before..].reverse();
        tokens.byte_spans_mut()[n_before..].reverse();
    }

    /// The id of a run of unknown pieces in a text that may have a marker before it.
    #[cold]
    fn unknown_run(&self, start: usize, end: usize, text: &[u8]) -> u32 {
        if start > 0 {
            return self.unknown(&text[start - 1..end - 1]);
        }
        let mut run = MARKER.to_string().into_bytes();
        run.extend_from_slice(&text[..end - 1]);
        self.unknown(&run)
    }
}

#[inline]
fn char_bytes(lead: u8) -> usize {
    match lead {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}
