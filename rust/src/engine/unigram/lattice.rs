//! Segments a text of any length that comes character by character, or plain and whole, in bounded memory: what all paths share is final.

use std::cell::Cell;
use std::ops::Range;

use super::pieces::Pieces;
use super::viterbi::{End, NO_END, ORIGIN};
use crate::engine::Tokens;
use crate::engine::metaspace::MARKER;
use crate::memory;

/// Bytes that are held before the first attempt to find what all paths share.
const WINDOW_BYTES: usize = 4 * 1024;

/// Bytes that may be held beyond that: the last character is pushed whole, and there is one end more than bytes.
const MOST_OVER_BYTES: usize = 4;

/// Capacity that a thread keeps for its next text.
const KEPT_BYTES: usize = 4 * WINDOW_BYTES;

thread_local! {
    /// Memory for the next text of this thread: most texts are a word, and asking for memory would take longer than reading it.
    static AT_REST: Cell<Memory> = Cell::default();
}

/// A text on its way to tokens.
#[derive(Debug)]
pub struct Lattice<'p, 't> {
    pieces: &'p Pieces,
    tokens: &'t mut Tokens,
    memory: Memory,
    /// Paths are extended up to here.
    at: usize,
    /// Bytes held before the next attempt.
    patience: usize,
    unknown: Option<Unknown>,
    plain: Option<PlainText>,
}

/// Where the bytes of a plain text come from, which need no list.
#[derive(Debug)]
struct PlainText {
    /// Of the marker before it, which stands for `marked`.
    n_marker_bytes: usize,
    marked: (u32, u32),
    /// Of its first byte after the marker.
    start: usize,
    /// Bytes that are final and no longer held.
    n_gone: usize,
}

impl PlainText {
    /// Where a piece stands that takes some of the bytes that are held, on character boundaries.
    fn span(&self, piece: Range<usize>) -> (u32, u32) {
        let place = |at: usize| (self.start + self.n_gone + at - self.n_marker_bytes) as u32;
        let starts_with_marker = self.n_gone + piece.start < self.n_marker_bytes;
        let ends_with_marker = self.n_gone + piece.end == self.n_marker_bytes;
        let start = if starts_with_marker { self.marked.0 } else { place(piece.start) };
        (start, if ends_with_marker { self.marked.1 } else { place(piece.end) })
    }
}

#[derive(Debug, Default)]
struct Memory {
    /// Not final yet.
    text: Vec<u8>,
    /// Where each byte of it came from; of no byte where the text is plain.
    spans: Vec<(u32, u32)>,
    /// One for each byte and one more.
    ends: Vec<End>,
    /// Where the pieces of the best path end, last first.
    path: Vec<u32>,
}

impl Drop for Lattice<'_, '_> {
    fn drop(&mut self) {
        if self.memory.text.capacity() <= KEPT_BYTES {
            AT_REST.set(std::mem::take(&mut self.memory));
        }
    }
}

/// A run of unknown pieces that may go on.
#[derive(Debug)]
struct Unknown {
    span: (u32, u32),
    /// The run itself, up to where it is longer than any piece.
    text: Vec<u8>,
}

impl<'p, 't> Lattice<'p, 't> {
    pub fn new(pieces: &'p Pieces, tokens: &'t mut Tokens) -> Self {
        let mut memory = AT_REST.take();
        memory.text.clear();
        memory.spans.clear();
        memory.ends.clear();
        memory.ends.push(ORIGIN);
        Self { pieces, tokens, memory, at: 0, patience: WINDOW_BYTES, unknown: None, plain: None }
    }

    /// One character more.
    #[inline]
    pub fn push(&mut self, character: char, span: (u32, u32)) {
        let mut bytes = [0; 4];
        // One by one: for so few bytes, asking for a copy takes longer than making it.
        for &byte in character.encode_utf8(&mut bytes).as_bytes() {
            self.memory.text.push(byte);
            self.memory.spans.push(span);
        }
        if self.memory.text.len() >= self.patience {
            self.settle();
        }
    }

    /// A whole text whose characters stay what they are, from byte `start` of the word on; before it a marker that stands for `marked`.
    /// Nothing was pushed before.
    pub fn read_plain(&mut self, marked: Option<(u32, u32)>, text: &str, start: u32) {
        let n_marker_bytes = marked.map_or(0, |_| MARKER.len_utf8());
        self.plain = Some(PlainText { n_marker_bytes, marked: marked.unwrap_or_default(), start: start as usize, n_gone: 0 });
        self.memory.text.extend(MARKER.encode_utf8(&mut [0; 4]).as_bytes().iter().take(n_marker_bytes));
        let mut rest = text;
        while !rest.is_empty() {
            let n_bytes = rest.ceil_char_boundary(self.patience.saturating_sub(self.memory.text.len()).max(1));
            let (part, others) = rest.split_at(n_bytes);
            self.memory.text.extend_from_slice(part.as_bytes());
            if self.memory.text.len() >= self.patience {
                self.settle();
            }
            rest = others;
        }
        self.end();
        self.plain = None;
    }

    /// The text ends here; another may begin.
    pub fn end(&mut self) {
        self.extend_to(self.memory.text.len());
        self.write(self.memory.text.len());
        self.write_unknown();
        self.memory.text.clear();
        self.memory.spans.clear();
        self.memory.ends.truncate(1);
        self.memory.ends[0] = ORIGIN; // after windows, the sum up to here stood there
        (self.at, self.patience) = (0, WINDOW_BYTES);
    }

    fn extend_to(&mut self, to: usize) {
        self.memory.ends.resize(self.memory.text.len() + 1, NO_END);
        while self.at < to {
            self.at = self.pieces.extend(&self.memory.text, self.at, 0, &mut self.memory.ends);
        }
    }

    /// Extends all paths as far as no piece can reach what is not there yet, and writes the tokens that they share.
    #[cold]
    fn settle(&mut self) {
        self.extend_to(self.memory.text.len().saturating_sub(self.pieces.longest_bytes()));
        let shared = self.shared();
        if shared > 0 {
            self.write(shared);
            self.forget(shared);
        }
        self.patience = WINDOW_BYTES.max(2 * self.memory.text.len());
        let n_more = self.patience + MOST_OVER_BYTES - self.memory.text.len();
        memory::reserve(&mut self.memory.text, n_more);
        if self.plain.is_none() {
            memory::reserve(&mut self.memory.spans, n_more);
        }
        memory::reserve(&mut self.memory.ends, n_more);
    }

    /// Lets go of the first bytes, whose tokens are written.
    fn forget(&mut self, n_bytes: usize) {
        self.memory.text.drain(..n_bytes);
        match &mut self.plain {
            Some(plain) => plain.n_gone += n_bytes,
            None => drop(self.memory.spans.drain(..n_bytes)),
        }
        self.memory.ends.drain(..n_bytes);
        for end in &mut self.memory.ends {
            end.shift(n_bytes);
        }
        self.at -= n_bytes;
    }

    /// The last byte through which every path goes that may still be the best.
    fn shared(&self) -> usize {
        let mut is_on_path = vec![false; self.at + 1];
        is_on_path[self.at] = true;
        let mut n_paths = 1;
        for start in self.memory.ends[self.at + 1..].iter().filter_map(End::start) {
            n_paths += usize::from(!std::mem::replace(&mut is_on_path[start], true));
        }
        let mut at = self.at;
        while n_paths > 1 {
            if is_on_path[at]
                && let Some(start) = self.memory.ends[at].start()
            {
                n_paths -= usize::from(std::mem::replace(&mut is_on_path[start], true));
            }
            at -= 1;
        }
        (0..=at).rev().find(|&at| is_on_path[at]).unwrap_or(0)
    }

    /// Writes the tokens of the best path to byte `end`.
    fn write(&mut self, mut end: usize) {
        let mut path = std::mem::take(&mut self.memory.path);
        while let Some(start) = self.memory.ends[end].start() {
            path.push(end as u32);
            end = start;
        }
        let mut start = end;
        while let Some(end) = path.pop() {
            let (end, id) = (end as usize, self.memory.ends[end as usize].id());
            let span = match &self.plain {
                Some(plain) => plain.span(start..end),
                None => (self.memory.spans[start].0, self.memory.spans[end - 1].1),
            };
            if self.pieces.is_unknown(id) {
                let unknown = self.unknown.get_or_insert(Unknown { span, text: Vec::new() });
                unknown.span.1 = span.1;
                if unknown.text.len() <= self.pieces.longest_bytes() {
                    unknown.text.extend_from_slice(&self.memory.text[start..end]);
                }
            } else {
                self.write_unknown();
                self.tokens.push(id, span);
            }
            start = end;
        }
        self.memory.path = path;
    }

    fn write_unknown(&mut self) {
        if let Some(Unknown { span, text }) = self.unknown.take() {
            self.tokens.push(self.pieces.unknown(&text), span);
        }
    }
}
