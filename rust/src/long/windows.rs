//! Arithmetic of the windows of a long document, and what is known of its pieces.

use std::ops::Range;

use crate::engine::Tokens;
use crate::offsets::CharIndex;
use crate::output::{Offsets, RowFormat};
use crate::plan::Chunk;
use crate::special::Frame;

/// Rows that the samples speak for are asked for up to so many bytes of ids for a byte of text. Where chunks overlap that much, or the
/// samples are no fair ones, rows beyond wait until it is known how many there are.
const MOST_BYTES_AHEAD: usize = 16;

/// The windows of [`plan_chunks`](crate::chunk::plan_chunks), of the tokens of one piece after the other.
#[derive(Debug, Default)]
pub struct Windows {
    pub n_pieces_left: usize,
    /// Windows that are filled.
    pub n_cut: usize,
    /// Tokens from the start of the next window on, their spans in characters, and how many are before them.
    pub carried: Tokens,
    pub n_before: usize,
    /// How many more bytes than characters the pieces so far have.
    pub n_surplus: u32,
}

impl Windows {
    /// How many the next piece fills: those that more tokens follow, and after the last piece the last one.
    pub fn n_filled(&self, n_tokens: usize, form: &Form<'_>) -> usize {
        form.n_followed(self.carried.len() + n_tokens) + usize::from(self.n_pieces_left == 1)
    }

    /// Takes a piece in, and gives the tokens that were carried to it.
    pub fn advance(&mut self, piece: &ReadPiece, form: &Form<'_>) -> Tokens {
        let (n_carried, n_tokens) = (self.carried.len(), piece.tokens.len());
        let n_passed = form.n_followed(n_carried + n_tokens) * form.stride_tokens;
        let mut carried = Tokens::default();
        let (ids, spans) = self.carried.part(n_passed.min(n_carried)..n_carried);
        carried.extend_shifted(ids, spans, 0);
        form.append(piece, self.n_surplus, n_passed.saturating_sub(n_carried)..n_tokens, &mut carried);
        self.n_cut += self.n_filled(n_tokens, form);
        self.n_pieces_left -= 1;
        self.n_before += n_passed;
        self.n_surplus += piece.char_index.n_surplus_bytes();
        std::mem::replace(&mut self.carried, carried)
    }

    /// Tokens so far.
    pub fn n_tokens(&self) -> usize {
        self.n_before + self.carried.len()
    }

    /// One that was filled.
    pub fn chunk(&self, window: usize, char_span: (u32, u32), form: &Form<'_>) -> Chunk {
        let start = window * form.stride_tokens;
        let end = (start + form.room_tokens).min(self.n_tokens());
        let n_read = if window == 0 { 0 } else { start + form.room_tokens - form.stride_tokens };
        Chunk { tokens: start..end, char_span, n_fresh: end - n_read }
    }
}

/// What is known of a piece.
#[derive(Debug, Default)]
pub struct ReadPiece {
    /// Spans are in characters where rows want those of each token, in bytes otherwise.
    pub tokens: Tokens,
    pub char_index: CharIndex,
}

/// What rows are made of, beside tokens.
#[derive(Debug, Clone, Copy)]
pub struct Form<'f> {
    pub frame: &'f Frame,
    pub format: &'f RowFormat,
    pub room_tokens: usize,
    /// From a window's start to the next one's.
    pub stride_tokens: usize,
}

impl Form<'_> {
    /// So many windows of `n_tokens` tokens are followed by more.
    pub fn n_followed(&self, n_tokens: usize) -> usize {
        n_tokens.saturating_sub(self.room_tokens).div_ceil(self.stride_tokens)
    }

    /// So many windows `n_tokens` tokens have.
    pub fn n_windows(&self, n_tokens: usize) -> usize {
        self.n_followed(n_tokens) + 1
    }

    /// Rows that are asked for ahead where a text of `n_bytes` is expected to have `n_tokens` tokens.
    pub fn n_rows_ahead<T>(&self, n_tokens: usize, n_bytes: usize) -> usize {
        let row_bytes = (self.frame.n_tokens() + self.room_tokens) * size_of::<T>();
        self.n_windows(n_tokens).min(1 + n_bytes * MOST_BYTES_AHEAD / row_bytes)
    }

    pub fn has_offsets(&self) -> bool {
        self.format.offsets == Offsets::EachToken
    }

    /// A span of a piece, before which there are so many more bytes than characters, in characters.
    pub fn char_span(&self, piece: &ReadPiece, n_surplus: u32, span: (u32, u32)) -> (u32, u32) {
        let (start, end) = if self.has_offsets() { span } else { piece.char_index.char_span(span) };
        (start - n_surplus, end - n_surplus)
    }

    /// Appends some tokens of a piece, with their spans in characters.
    pub fn append(&self, piece: &ReadPiece, n_surplus: u32, tokens: Range<usize>, all: &mut Tokens) {
        let (ids, spans) = piece.tokens.part(tokens);
        ids.iter().zip(spans).for_each(|(&id, &span)| all.push(id, self.char_span(piece, n_surplus, span)));
    }
}
