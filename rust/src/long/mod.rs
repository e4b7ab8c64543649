//! Rows of a long document, written piece by piece by the threads that read it: no more tokens are held than those of the pieces at hand.

mod head_start;
mod places;
#[cfg(test)]
mod tests;
mod windows;

pub use head_start::HeadStart;
use places::RowTarget;
pub use windows::Windows;
use windows::{Form, ReadPiece};

use crate::batch::{Reader, expected};
use crate::config::{Boundary, ChunkConfig, Select, Tail};
use crate::engine::Piece;
use crate::join::{Hand, Joined, Joiner};
use crate::offsets::CharIndex;
use crate::output::{Output, RowFormat};
use crate::parallel;
use crate::rows::RowId;
use crate::special::Frame;

/// Pieces, spread over the document, that are read first, to know how many rows there will be.
const N_SAMPLES: usize = if cfg!(test) { 1 } else { 16 };

/// Rows that there is room for, beside those that the samples speak for, in parts of these. Room that is not used is never touched.
const SPARE_ROWS: f64 = if cfg!(test) { 0.0 } else { 0.1 };

/// Are chunks cut by counting tokens alone, so that those that come later have no say?
pub fn is_cut_by_count(config: &ChunkConfig) -> bool {
    config.boundary == Boundary::Token && config.tail == Tail::Keep && config.select == Select::All
}

impl Reader {
    fn form<'f>(&self, frame: &'f Frame, format: &'f RowFormat) -> Form<'f> {
        let ChunkConfig { room_tokens, overlap_tokens, .. } = self.config;
        Form { frame, format, room_tokens, stride_tokens: room_tokens - overlap_tokens }
    }

    /// Adds the rows of a document, and gives its coverage (see [`Plan::coverage`](crate::plan::Plan::coverage)). None, and no rows, where
    /// the document may have less than a row of tokens, or a piece is refused: whoever reads the pieces in order finds the first of those.
    /// `windows` are those of the pieces before these, whose rows are there already. `n_expected` guesses at the rows of all documents, from
    /// the number of this one's.
    pub(crate) fn add_rows<T: RowId>(
        &self,
        (index, text): (usize, &str),
        pieces: &[Piece],
        mut windows: Windows,
        output: &mut Output<'_, T>,
        n_expected: impl Fn(usize) -> usize,
    ) -> Result<Option<[i64; 4]>, String> {
        let form = self.form(output.frame(), output.format());
        let read = |index: usize, spare: ReadPiece| self.read_piece(text, &pieces[index], &form, spare);

        self.engine.share(self.n_threads);
        let step = pieces.len().div_ceil(N_SAMPLES);
        let chosen: Vec<usize> = (0..pieces.len()).step_by(step).collect();
        let samples = parallel::map(chosen.len(), self.n_threads, |i| read(chosen[i], ReadPiece::default()));
        let Ok(samples) = samples else { return Ok(None) };
        let n_in_samples: usize = samples.iter().map(|piece| piece.tokens.len()).sum();
        if windows.n_tokens() + n_in_samples <= form.room_tokens {
            return Ok(None);
        }
        let n_sample_bytes: usize = chosen.iter().map(|&index| pieces[index].own.len()).sum();

        windows.n_pieces_left = pieces.len();
        let (n_cut, n_bytes) = (windows.n_cut, pieces.iter().map(|piece| piece.own.len()).sum());
        let n_tokens = windows.carried.len() + expected(n_in_samples, n_sample_bytes, n_bytes, SPARE_ROWS);
        let n_rows = form.n_rows_ahead::<T>(n_tokens, n_bytes);
        let joined = form.joined(windows, [n_rows, n_expected(n_cut + n_rows)], (index, self.n_threads), output, |joiner| {
            chosen.iter().zip(samples).for_each(|(&index, piece)| joiner.add(index, piece));
            let others: Vec<usize> = (0..pieces.len()).filter(|index| index % step != 0).collect();
            let read_next = |hand: &mut Hand<'_, _>, i: usize| {
                let piece = read(others[i], hand.spare())?;
                hand.add(others[i], piece);
                Ok::<_, String>(())
            };
            parallel::map_with(others.len(), self.n_threads, || joiner.hand(), read_next).map(drop)
        });
        let rest;
        (windows, _, rest) = joined?;
        if !rest.is_empty() {
            // There are more than were expected, and now it is known how many.
            let n_rows = form.n_windows(windows.carried.len() + rest.iter().map(|piece| piece.tokens.len()).sum::<usize>());
            let n_expected = n_expected(windows.n_cut + n_rows);
            (windows, ..) = form.joined(windows, [n_rows, n_expected], (index, 1), output, |joiner| {
                rest.into_iter().enumerate().for_each(|(index, piece)| joiner.add(index, piece));
                Ok(())
            })?;
        }
        let [n_tokens, n_rows] = [windows.n_tokens() as i64, windows.n_cut as i64];
        Ok(Some([n_tokens, n_tokens, n_rows, n_rows]))
    }

    fn read_piece(&self, text: &str, piece: &Piece, form: &Form<'_>, mut read: ReadPiece) -> Result<ReadPiece, String> {
        read.tokens.clear();
        self.engine.encode(text, piece, &mut read.tokens)?;
        read.char_index = CharIndex::within(text, piece.own.clone(), 1);
        if form.has_offsets() {
            read.char_index.to_char_spans(read.tokens.byte_spans_mut());
        }
        Ok(read)
    }
}

impl Form<'_> {
    /// Adds rows, up to `n_rows` of them where all documents may have `n_expected` in the end, of the pieces that `add` gives to a joiner
    /// on so many threads. Gives the windows after them, how many pieces have places, and those for which there was none.
    fn joined<T: RowId>(
        self,
        mut windows: Windows,
        [n_rows, n_expected]: [usize; 2],
        (document, n_threads): (usize, usize),
        output: &mut Output<'_, T>,
        add: impl FnOnce(&Joiner<RowTarget<'_, T>>) -> Result<(), String>,
    ) -> Result<(Windows, usize, Vec<ReadPiece>), String> {
        let (mut char_spans, first_row) = (vec![(0, 0); n_rows], windows.n_cut);
        let room = output.room(n_rows, self.room_tokens, n_expected);
        let target = RowTarget::new(self, windows, room, &mut char_spans, n_threads);
        let joiner = Joiner::new(target, Vec::new());
        add(&joiner)?;
        let Joined { target, n_placed, rest, .. } = joiner.finish();
        windows = target.windows;
        for row in first_row..windows.n_cut {
            output.count(document, &windows.chunk(row, char_spans[row - first_row], &self));
        }
        Ok((windows, n_placed, rest))
    }
}
