//! Writes rows: fixed tokens, chunk, fixed tokens, padding. Each element of a row is written, whatever its memory holds.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;

use crate::memory::Pool;
use crate::scan::{Wide, wide};
use crate::special::{FixedToken, Frame};

/// On which side of a row the padding goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before the tokens.
    Left,
    /// After the tokens.
    Right,
}

/// An element type of `input_ids`.
pub trait RowId: Pod + Send + Sync {
    /// A vocabulary id in this type. `#[inline(always)]`: part of what is compiled for newer processors.
    fn from_id(id: u32) -> Self;

    /// Where the memory of ids comes from.
    fn pool(memory: &RowMemory) -> &Arc<Pool<Self>>;
}

impl RowId for i64 {
    #[inline(always)]
    fn from_id(id: u32) -> Self {
        Self::from(id)
    }

    fn pool(memory: &RowMemory) -> &Arc<Pool<Self>> {
        &memory.wide
    }
}

impl RowId for i32 {
    #[inline(always)]
    fn from_id(id: u32) -> Self {
        id as Self
    }

    fn pool(memory: &RowMemory) -> &Arc<Pool<Self>> {
        &memory.narrow
    }
}

/// The memory of rows that were let go.
#[derive(Debug, Default, Clone)]
pub struct RowMemory {
    wide: Arc<Pool<i64>>,
    narrow: Arc<Pool<i32>>,
    /// Of offsets.
    pub spans: Arc<Pool<[i32; 2]>>,
}

/// Where in a row of `width` the row's own tokens begin, and where padding after them does.
fn token_range(frame: &Frame, n_content: usize, width: usize, side: Side) -> Range<usize> {
    let n_tokens = frame.n_tokens() + n_content;
    match side {
        Side::Left => width - n_tokens..width,
        Side::Right => 0..n_tokens,
    }
}

/// Writes all of a row.
pub fn write_ids<T: RowId>(row: &mut [T], frame: &Frame, content: &[u32], pad_id: u32, side: Side) {
    let tokens = token_range(frame, content.len(), row.len(), side);
    let (rest, padding_after) = row.split_at_mut(tokens.end);
    let (padding_before, rest) = rest.split_at_mut(tokens.start);
    let (before, rest) = rest.split_at_mut(frame.before.len());
    let (middle, after) = rest.split_at_mut(content.len());
    padding_before.fill(T::from_id(pad_id));
    write_fixed(before, &frame.before);
    wide(Content { places: middle, ids: content });
    write_fixed(after, &frame.after);
    padding_after.fill(T::from_id(pad_id));
}

fn write_fixed<T: RowId>(row: &mut [T], tokens: &[FixedToken]) {
    row.iter_mut().zip(tokens).for_each(|(place, token)| *place = T::from_id(token.id));
}

struct Content<'c, T> {
    places: &'c mut [T],
    ids: &'c [u32],
}

impl<T: RowId> Wide for Content<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.places.iter_mut().zip(self.ids).for_each(|(place, &id)| *place = T::from_id(id));
    }
}

/// Writes the offsets of a row: spans less `n_surplus`. Fixed tokens and padding have `(0, 0)`: they stand in no document.
pub fn write_offsets(row: &mut [[i32; 2]], frame: &Frame, char_spans: &[(u32, u32)], n_surplus: u32, side: Side) {
    let start = token_range(frame, char_spans.len(), row.len(), side).start + frame.before.len();
    let (before, rest) = row.split_at_mut(start);
    let (middle, after) = rest.split_at_mut(char_spans.len());
    before.fill([0; 2]);
    middle.iter_mut().zip(char_spans).for_each(|(slot, &(from, to))| *slot = [(from - n_surplus) as i32, (to - n_surplus) as i32]);
    after.fill([0; 2]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let token = |id| FixedToken { id, type_id: 0 };
        Frame { before: vec![token(1)], after: vec![token(2), token(3)], content_type_id: 0 }
    }

    #[test]
    fn padding_goes_to_its_side() {
        let mut row = [9_i64; 7];
        write_ids(&mut row, &frame(), &[8, 9], 5, Side::Right);
        assert_eq!(row, [1, 8, 9, 2, 3, 5, 5]);
        let mut row = [9_i32; 7];
        write_ids(&mut row, &frame(), &[8, 9], 5, Side::Left);
        assert_eq!(row, [5, 5, 1, 8, 9, 2, 3]);
    }

    #[test]
    fn offsets_stand_under_their_tokens() {
        let mut row = [[7; 2]; 6];
        write_offsets(&mut row, &frame(), &[(4, 5), (5, 9)], 0, Side::Left);
        assert_eq!(row, [[0, 0], [0, 0], [4, 5], [5, 9], [0, 0], [0, 0]]);
        write_offsets(&mut row, &frame(), &[(4, 5), (5, 9)], 3, Side::Right);
        assert_eq!(row, [[0, 0], [1, 2], [2, 6], [0, 0], [0, 0], [0, 0]]);
    }
}
