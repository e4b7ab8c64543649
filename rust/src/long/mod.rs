//! Rows of a long document, written piece by piece by the threads that read it: no more tokens are held than those of the pieces at hand.

mod places;
mod ready;
#[cfg(test)]
mod tests;
mod windows;

use places::RowTarget;
use windows::{Form, ReadPiece, Windows};

use crate::batch::{Reader, expected};
use crate::config::{Boundary, ChunkConfig, Select, Tail};
use crate::engine::Piece;
use crate::join::{Hand, Joiner};
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
    /// `n_expected` guesses at the rows of all documents, from the number of this one's.
    pub(crate) fn add_rows<T: RowId>(
        &self,
        (index, text): (usize, &str),
        pieces: &[Piece],
        frame: &Frame,
        format: &RowFormat,
        output: &mut Output<'_, T>,
        n_expected: impl Fn(usize) -> usize,
    ) -> Result<Option<[i64; 4]>, String> {
        let form = self.form(frame, format);
        let read = |index: usize, mut piece: ReadPiece| {
            piece.tokens.clear();
            self.engine.encode(text, &pieces[index], &mut piece.tokens)?;
            piece.char_index = CharIndex::within(text, pieces[index].own.clone(), 1);
            if form.has_offsets() {
                piece.char_index.to_char_spans(piece.tokens.byte_spans_mut());
            }
            Ok::<_, String>(piece)
        };

        let step = pieces.len().div_ceil(N_SAMPLES);
        let chosen: Vec<usize> = (0..pieces.len()).step_by(step).collect();
        let samples = parallel::map(chosen.len(), self.n_threads, |i| read(chosen[i], ReadPiece::default()));
        let Ok(samples) = samples else { return Ok(None) };
        let n_in_samples: usize = samples.iter().map(|piece| piece.tokens.len()).sum();
        if n_in_samples <= form.room_tokens {
            return Ok(None);
        }
        let n_sample_bytes: usize = chosen.iter().map(|&index| pieces[index].own.len()).sum();

        let mut windows = Windows { n_pieces_left: pieces.len(), ..Windows::default() };
        let n_rows = form.n_rows_ahead::<T>(expected(n_in_samples, n_sample_bytes, text.len(), SPARE_ROWS), text.len());
        let joined = form.joined(windows, [n_rows, n_expected(n_rows)], index, output, |joiner| {
            chosen.iter().zip(samples).for_each(|(&index, piece)| joiner.add(index, piece));
            let others: Vec<usize> = (0..pieces.len()).filter(|index| index % step != 0).collect();
            let read_next = |hand: &mut Hand<'_, _>, i: usize| {
                let piece = read(others[i], hand.spare())?;
                hand.add(others[i], piece);
                Ok::<_, String>(())
            };
            parallel::map_with(others.len(), self.n_threads, || joiner.hand(), read_next)
        });
        let rest;
        (windows, rest) = joined?;
        if !rest.is_empty() {
            // There are more than were expected, and now it is known how many.
            let n_rows = form.n_windows(windows.carried.len() + rest.iter().map(|piece| piece.tokens.len()).sum::<usize>());
            (windows, _) = form.joined(windows, [n_rows, n_expected(n_rows)], index, output, |joiner| {
                rest.into_iter().enumerate().for_each(|(index, piece)| joiner.add(index, piece));
                Ok(vec![])
            })?;
        }
        let [n_tokens, n_rows] = [windows.n_tokens() as i64, windows.n_cut as i64];
        Ok(Some([n_tokens, n_tokens, n_rows, n_rows]))
    }
}

impl Form<'_> {
    /// Adds rows, up to `n_rows` of them where all documents may have `n_expected` in the end, of the pieces that `add` gives to a joiner.
    /// Gives the windows after them, and the pieces for which there was no place.
    fn joined<T: RowId>(
        self,
        mut windows: Windows,
        [n_rows, n_expected]: [usize; 2],
        document: usize,
        output: &mut Output<'_, T>,
        add: impl FnOnce(&Joiner<RowTarget<'_, T>>) -> Result<Vec<()>, String>,
    ) -> Result<(Windows, Vec<ReadPiece>), String> {
        let (mut char_spans, first_row) = (vec![(0, 0); n_rows], windows.n_cut);
        let room = output.room(n_rows, self.room_tokens, n_expected);
        let target = RowTarget::new(self, windows, room, &mut char_spans, self.format.n_threads);
        let joiner = Joiner::new(target, Vec::new());
        add(&joiner)?;
        let outcome = joiner.finish();
        windows = outcome.target.windows;
        let rest = outcome.rest;
        for row in first_row..windows.n_cut {
            output.count(document, &windows.chunk(row, char_spans[row - first_row], &self));
        }
        Ok((windows, rest))
    }
}
