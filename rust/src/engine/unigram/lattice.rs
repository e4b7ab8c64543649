//! Segments a text of any length that comes character by character, in bounded memory: what all paths share is final.

use std::cell::Cell;

use super::pieces::Pieces;
use super::viterbi::{End, NO_END, ORIGIN};
use crate::engine::Tokens;

/// Bytes that are held before the first attempt to find what all paths share.
const WINDOW_BYTES: usize = 4 * 1024;

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
}

#[derive(Debug, Default)]
struct Memory {
    /// Not final yet.
    text: Vec<u8>,
    /// Where each byte of it came from.
    spans: Vec<(u32, u32)>,
    /// One for each byte and one more.
    ends: Vec<End>,
    path: Vec<(usize, usize, u32)>,
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
        Self { pieces, tokens, memory, at: 0, patience: WINDOW_BYTES, unknown: None }
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

    /// All characters of a text that comes from byte `start` on.
    pub fn push_all(&mut self, text: &str, start: u32) {
        let mut rest = text;
        while !rest.is_empty() {
            let n_bytes = rest.ceil_char_boundary(self.patience.saturating_sub(self.memory.text.len()).max(1));
            let (part, others) = rest.split_at(n_bytes);
            let at = start + (text.len() - rest.len()) as u32;
            self.memory.text.extend_from_slice(part.as_bytes());
            if part.is_ascii() {
                self.memory.spans.extend((at..).take(n_bytes).map(|at| (at, at + 1)));
            } else {
                self.memory.spans.extend(part.char_indices().flat_map(|(i, character)| {
                    let (start, n_bytes) = (at + i as u32, character.len_utf8());
                    std::iter::repeat_n((start, start + n_bytes as u32), n_bytes)
                }));
            }
            if self.memory.text.len() >= self.patience {
                self.settle();
            }
            rest = others;
        }
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
        self.write(shared);
        self.memory.text.drain(..shared);
        self.memory.spans.drain(..shared);
        self.memory.ends.drain(..shared);
        for end in &mut self.memory.ends {
            end.shift(shared);
        }
        self.at -= shared;
        self.patience = WINDOW_BYTES.max(2 * self.memory.text.len());
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
        self.memory.path.clear();
        while let Some(start) = self.memory.ends[end].start() {
            self.memory.path.push((start, end, self.memory.ends[end].id()));
            end = start;
        }
        for (start, end, id) in std::mem::take(&mut self.memory.path).into_iter().rev() {
            let span = (self.memory.spans[start].0, self.memory.spans[end - 1].1);
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
        }
    }

    fn write_unknown(&mut self) {
        if let Some(Unknown { span, text }) = self.unknown.take() {
            self.tokens.push(self.pieces.unknown(&text), span);
        }
    }
}
