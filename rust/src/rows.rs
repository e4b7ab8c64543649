//! Writes rows: fixed tokens, chunk, fixed tokens, padding. Each element of a buffer is written once.

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
pub trait RowId: Copy + Send + Sync + 'static {
    /// A vocabulary id in this type.
    fn from_id(id: u32) -> Self;
}

impl RowId for i64 {
    fn from_id(id: u32) -> Self {
        Self::from(id)
    }
}

impl RowId for i32 {
    fn from_id(id: u32) -> Self {
        id as Self
    }
}

/// Where in a row of `width` the chunk's own tokens go.
pub fn content_start(frame: &Frame, n_content: usize, width: usize, side: Side) -> usize {
    let n_padding = match side {
        Side::Left => width - frame.n_tokens() - n_content,
        Side::Right => 0,
    };
    n_padding + frame.before.len()
}

/// Fills a row that so far holds the pad id everywhere.
pub fn write_ids<T: RowId>(row: &mut [T], frame: &Frame, content: &[u32], side: Side) {
    let start = content_start(frame, content.len(), row.len(), side);
    let (before, rest) = row[start - frame.before.len()..].split_at_mut(frame.before.len());
    let (middle, after) = rest.split_at_mut(content.len());
    write(before, frame.before.iter().map(|token: &FixedToken| token.id));
    write(middle, content.iter().copied());
    write(after, frame.after.iter().map(|token| token.id));
}

fn write<T: RowId>(row: &mut [T], ids: impl Iterator<Item = u32>) {
    row.iter_mut().zip(ids).for_each(|(slot, id)| *slot = T::from_id(id));
}

/// Fills the offsets of a row that so far holds `(0, 0)` everywhere. Fixed tokens keep `(0, 0)`: they stand in no document.
pub fn write_offsets(row: &mut [[i32; 2]], frame: &Frame, char_spans: &[(u32, u32)], side: Side) {
    let start = content_start(frame, char_spans.len(), row.len(), side);
    let slots = row[start..].iter_mut().zip(char_spans);
    slots.for_each(|(slot, &(from, to))| *slot = [from as i32, to as i32]);
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
        let mut row = [0_i64; 7];
        write_ids(&mut row, &frame(), &[8, 9], Side::Right);
        assert_eq!(row, [1, 8, 9, 2, 3, 0, 0]);
        let mut row = [0_i32; 7];
        write_ids(&mut row, &frame(), &[8, 9], Side::Left);
        assert_eq!(row, [0, 0, 1, 8, 9, 2, 3]);
    }

    #[test]
    fn offsets_stand_under_their_tokens() {
        let mut row = [[0; 2]; 6];
        write_offsets(&mut row, &frame(), &[(4, 5), (5, 9)], Side::Left);
        assert_eq!(row, [[0, 0], [0, 0], [4, 5], [5, 9], [0, 0], [0, 0]]);
    }
}
