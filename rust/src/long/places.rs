//! Where the rows of a long document go, and who writes them.

use super::windows::{Form, ReadPiece, Windows};
use crate::ahead::{Ahead, Page};
use crate::batch::byte_span;
use crate::engine::Tokens;
use crate::join::Target;
use crate::output::RowRoom;
use crate::rows::{RowId, write_ids, write_offsets};

/// Places for the rows of a document.
pub struct RowTarget<'o, T> {
    pub form: Form<'o>,
    pub windows: Windows,
    pub room: RowRoom<'o, T>,
    /// `(n_rows,)`: of chunks.
    pub char_spans: &'o mut [(u32, u32)],
    ahead: [Ahead; 2],
}

/// Places for the rows that a piece fills.
pub struct RowPlace<'o, T> {
    form: Form<'o>,
    /// Tokens before the piece from the first row's start on.
    carried: Tokens,
    n_surplus: u32,
    room: RowRoom<'o, T>,
    char_spans: &'o mut [(u32, u32)],
}

impl<'o, T> RowTarget<'o, T> {
    /// For so many threads to fill.
    pub fn new(form: Form<'o>, windows: Windows, room: RowRoom<'o, T>, char_spans: &'o mut [(u32, u32)], n_threads: usize) -> Self {
        let ahead = [Ahead::new(room.ids, n_threads), Ahead::new(room.offsets.as_deref().unwrap_or_default(), n_threads)];
        Self { form, windows, room, char_spans, ahead }
    }
}

impl<'o, T: RowId> Target for RowTarget<'o, T> {
    type Piece = ReadPiece;
    type Place = RowPlace<'o, T>;

    fn next_place(&mut self, piece: &ReadPiece) -> Option<Self::Place> {
        let n_rows = self.windows.n_filled(piece.tokens.len(), &self.form);
        let (width, n_elements) = (self.room.width, n_rows * self.room.width);
        let char_spans = self.char_spans.split_off_mut(..n_rows)?;
        let ids = self.room.ids.split_off_mut(..n_elements)?;
        let offsets = self.room.offsets.as_mut().and_then(|offsets| offsets.split_off_mut(..n_elements));
        let (form, n_surplus) = (self.form, self.windows.n_surplus);
        let carried = self.windows.advance(piece, &form);
        Some(RowPlace { form, carried, n_surplus, room: RowRoom { width, ids, offsets }, char_spans })
    }

    fn pages_ahead(&mut self) -> [Option<Page>; 2] {
        let [ids, offsets] = &mut self.ahead;
        [ids.next_page(self.room.ids), offsets.next_page(self.room.offsets.as_deref().unwrap_or_default())]
    }

    fn fill(place: Self::Place, piece: &ReadPiece) {
        let RowPlace { form, mut carried, n_surplus, mut room, char_spans } = place;
        let (n_carried, n_tokens) = (carried.len(), piece.tokens.len());
        // Rows that begin among the carried tokens find all of theirs there.
        form.append(piece, n_surplus, 0..n_tokens.min(form.room_tokens), &mut carried);
        for (row, char_span) in char_spans.iter_mut().enumerate() {
            let start = row * form.stride_tokens;
            let end = (start + form.room_tokens).min(n_carried + n_tokens);
            let is_carried = start < n_carried;
            let (ids, spans) = if is_carried { carried.part(start..end) } else { piece.tokens.part(start - n_carried..end - n_carried) };
            *char_span = if is_carried { byte_span(spans) } else { form.char_span(piece, n_surplus, byte_span(spans)) };
            let (places, side) = (row * room.width..(row + 1) * room.width, form.format.padding_side);
            write_ids(&mut room.ids[places.clone()], form.frame, ids, form.format.pad_id, side);
            if let Some(offsets) = &mut room.offsets {
                write_offsets(&mut offsets[places], form.frame, spans, if is_carried { 0 } else { n_surplus }, side);
            }
        }
    }
}
