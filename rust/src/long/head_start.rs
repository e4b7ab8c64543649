//! Rows of a document that is still on its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::windows::{ReadPiece, Windows};
use crate::batch::{Reader, expected};
use crate::documents::MAX_DOCUMENT_BYTES;
use crate::engine::Piece;
use crate::growing::GrowingText;
use crate::join::Hand;
use crate::output::{Output, RowFormat};
use crate::parallel;
use crate::rows::{RowId, RowMemory};
use crate::special::Frame;

/// So much of a text is waited for, and then for twice as much as when it was last looked at: to find the pieces of a beginning, all of it may
/// have to be looked through.
const FIRST_BYTES: usize = if cfg!(test) { 1 << 18 } else { 1 << 20 };

/// The longest piece that is read ahead: whoever writes the text waits until those are read that were begun.
const LONGEST_PIECE_BYTES: usize = 1 << 20;

/// How long one waits before one looks how much there is.
const PAUSE: Duration = Duration::from_micros(50);

/// Rows that there is room for, beside those that the first piece speaks for, in parts of these.
const SPARE_ROWS: f64 = 0.5;

/// What was read of a document before all of it was there.
#[derive(Debug)]
pub struct HeadStart<'f, T: RowId> {
    pub output: Output<'f, T>,
    pub windows: Windows,
    /// Those that were read.
    pub pieces: Vec<Piece>,
}

impl Reader {
    /// Reads a text of about `n_bytes` as it grows, until it `is_there`, on all threads but the one that writes it. None where that gave no row.
    /// For [`Reader::rows_after`].
    pub fn head_start<'f, T: RowId>(
        &self,
        (text, n_bytes): (&GrowingText, usize),
        frame: &'f Frame,
        format: &'f RowFormat,
        memory: &'f RowMemory,
        is_there: &AtomicBool,
    ) -> Option<HeadStart<'f, T>> {
        if n_bytes > MAX_DOCUMENT_BYTES || n_bytes <= self.group_bytes() {
            return None; // too long to be read at all, or too short to be read in pieces
        }
        let windows = Windows { n_pieces_left: usize::MAX, ..Windows::default() };
        let mut head = HeadStart { output: Output::new(frame, format, memory, n_bytes), windows, pieces: Vec::new() };
        let mut n_awaited = FIRST_BYTES;
        while !is_there.load(Ordering::Relaxed) {
            let beginning = text.as_str();
            if beginning.len() < n_awaited {
                thread::sleep(PAUSE);
                continue;
            }
            n_awaited = 2 * beginning.len();
            let mut pieces = self.engine.pieces(beginning);
            pieces.pop(); // it may go on
            let n_bytes_there = beginning.len().min(MAX_DOCUMENT_BYTES);
            let can_be_read =
                |piece: &Piece| piece.own.end + self.engine.reads_past() <= n_bytes_there && piece.own.len() <= LONGEST_PIECE_BYTES;
            pieces.truncate(pieces.iter().take_while(|piece| can_be_read(piece)).count());
            let fresh = pieces.strip_prefix(head.pieces.as_slice())?;
            if !self.add_to_head((beginning, n_bytes), fresh, &mut head, is_there)? {
                break;
            }
        }
        (head.windows.n_cut > 0).then_some(head)
    }

    /// Adds the rows of pieces. Says whether more may be added; None where the first is refused, and so will be the text.
    fn add_to_head<T: RowId>(
        &self,
        (beginning, n_bytes): (&str, usize),
        pieces: &[Piece],
        head: &mut HeadStart<'_, T>,
        is_there: &AtomicBool,
    ) -> Option<bool> {
        let Some((first, others)) = pieces.split_first().filter(|_| !is_there.load(Ordering::Relaxed)) else { return Some(true) };
        let form = self.form(head.output.frame(), head.output.format());
        let read = |piece: &Piece, spare: ReadPiece| self.read_piece(beginning, piece, &form, spare);
        let first_read = read(first, ReadPiece::default()).ok()?;
        let n_rows = |n_bytes: usize| {
            let n_tokens = expected(first_read.tokens.len(), first.own.len(), n_bytes, SPARE_ROWS);
            form.n_rows_ahead::<T>(head.windows.carried.len() + n_tokens, n_bytes)
        };
        let n_fresh_bytes = pieces.iter().map(|piece| piece.own.len()).sum();
        let n_expected = [n_rows(n_fresh_bytes), n_rows(n_bytes)];
        let n_threads = self.n_threads - 1;
        let joined = form.joined(std::mem::take(&mut head.windows), n_expected, (0, n_threads), &mut head.output, |joiner| {
            joiner.add(0, first_read);
            let read_next = |hand: &mut Hand<'_, _>, i: usize| {
                if is_there.load(Ordering::Relaxed) {
                    return Err(String::new());
                }
                let piece = read(&others[i], hand.spare())?;
                hand.add(1 + i, piece);
                Ok(())
            };
            // What is refused, or not read in time, is read again when the text is there, and so is what comes after it.
            let _ = parallel::map_with(others.len(), n_threads, || joiner.hand(), read_next);
            Ok(())
        });
        let (windows, n_placed, _) = joined.ok()?;
        head.windows = windows;
        head.pieces.extend_from_slice(&pieces[..n_placed]);
        Some(n_placed == pieces.len())
    }
}
