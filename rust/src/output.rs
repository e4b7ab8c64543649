//! Rows as flat arrays, written plan after plan.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;

use crate::memory::{Lent, Pool};
use crate::parallel;
use crate::plan::{Chunk, Plan, Row};
use crate::rows::{RowId, RowMemory, Side, write_ids, write_offsets};
use crate::special::Frame;

/// Below this many elements threads cost more than they save.
const PARALLEL_ELEMENTS: usize = 1 << 16;

/// Memory that is asked for before it is known to be needed, in each of the two large arrays: so much, or so many times the bytes of all
/// texts, which is enough where a token has two bytes. What is not used is never touched, but what was not asked for costs a copy of all rows.
const MOST_AHEAD_BYTES: usize = 64 << 20;
const MOST_AHEAD_PER_TEXT_BYTE: usize = 4;

/// Whether every token's character span is kept, or only every chunk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// Rows carry the character span of each token.
    EachToken,
    /// Only chunks have character spans.
    ChunksOnly,
}

/// How wide rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As the longest row written together.
    Longest,
    /// As any row may be.
    Full,
}

/// The form of rows.
#[derive(Debug, Clone, Copy)]
pub struct RowFormat {
    /// Fills a row up.
    pub pad_id: u32,
    /// On this side.
    pub padding_side: Side,
    /// To this width.
    pub width: Width,
    /// No row has more tokens, special ones included.
    pub max_tokens: usize,
    /// With these spans.
    pub offsets: Offsets,
    /// Threads to write with.
    pub n_threads: usize,
}

/// Rows as flat arrays, row after row.
#[derive(Debug)]
pub struct Rows<T: RowId> {
    /// Tokens in a row, padding included.
    pub width: usize,
    /// `(n_rows, width)`.
    pub input_ids: Lent<T>,
    /// `(n_rows,)`: tokens of a row that are not padding.
    pub lengths: Vec<i32>,
    /// `(n_rows,)`: document of a row, counted from the start of the first plan.
    pub document_index: Vec<i32>,
    /// `(n_rows, 2)`.
    pub token_spans: Vec<[i64; 2]>,
    /// `(n_rows, 2)`.
    pub char_spans: Vec<[i64; 2]>,
    /// `(n_rows,)`.
    pub fresh_tokens: Vec<i64>,
    /// `(n_rows, width)`, where asked for.
    pub offsets: Option<Lent<[i32; 2]>>,
}

/// Rows on their way: arrays have room for more than was written.
#[derive(Debug)]
pub struct Output<'f, T: RowId> {
    frame: &'f Frame,
    format: &'f RowFormat,
    memory: &'f RowMemory,
    rows: Rows<T>,
    /// The longest row so far.
    longest: usize,
    most_ahead_bytes: usize,
}

/// Places for rows, row after row.
#[derive(Debug)]
pub struct RowRoom<'o, T> {
    /// Tokens in a row, padding included.
    pub width: usize,
    /// `(n_rows, width)`.
    pub ids: &'o mut [T],
    /// `(n_rows, width)`, where asked for.
    pub offsets: Option<&'o mut [[i32; 2]]>,
}

impl<'f, T: RowId> Output<'f, T> {
    /// No rows yet, of texts of so many bytes.
    pub fn new(frame: &'f Frame, format: &'f RowFormat, memory: &'f RowMemory, n_text_bytes: usize) -> Self {
        let rows = Rows {
            width: if format.width == Width::Full { format.max_tokens } else { 0 },
            input_ids: T::pool(memory).lend(0),
            lengths: Vec::new(),
            document_index: Vec::new(),
            token_spans: Vec::new(),
            char_spans: Vec::new(),
            fresh_tokens: Vec::new(),
            offsets: (format.offsets == Offsets::EachToken).then(|| memory.spans.lend(0)),
        };
        let most_ahead_bytes = n_text_bytes.saturating_mul(MOST_AHEAD_PER_TEXT_BYTE).max(MOST_AHEAD_BYTES);
        Self { frame, format, memory, rows, longest: 0, most_ahead_bytes }
    }

    /// What rows are made of beside those of documents.
    pub fn frame(&self) -> &'f Frame {
        self.frame
    }

    /// The form of the rows.
    pub fn format(&self) -> &'f RowFormat {
        self.format
    }

    /// Appends the rows of a range of a plan, whose documents are counted from `first_document` on. `n_expected` is a guess at the number
    /// of all rows: the better it is, the less is copied. A wrong one costs no more than [`MOST_AHEAD_BYTES`], or its
    /// like for long texts, or four times what is needed.
    pub fn add(&mut self, plan: &Plan, rows: Range<usize>, first_document: usize, n_expected: usize) {
        let rows = plan.rows(rows);
        let longest = rows.iter().map(|row| self.frame.n_tokens() + row.ids.len()).max().unwrap_or(0);
        let n_before = self.rows.lengths.len();
        for row in &rows {
            self.count(first_document + row.document, row.chunk);
        }
        self.make_room(n_before, self.rows.lengths.len(), longest, n_expected);
        self.write(n_before, &rows);
    }

    /// Places for `n_rows` rows more, the longest with `n_tokens` tokens of its document. They are to be written first, and then counted.
    /// `n_expected` as for [`Output::add`].
    pub fn room(&mut self, n_rows: usize, n_tokens: usize, n_expected: usize) -> RowRoom<'_, T> {
        let n_before = self.rows.lengths.len();
        self.make_room(n_before, n_before + n_rows, self.frame.n_tokens() + n_tokens, n_expected);
        let width = self.rows.width;
        let places = n_before * width..(n_before + n_rows) * width;
        let offsets = self.rows.offsets.as_mut().map(|offsets| &mut offsets[places.clone()]);
        RowRoom { width, ids: &mut self.rows.input_ids[places], offsets }
    }

    /// One row more: all that is said of it beside its tokens.
    pub fn count(&mut self, document: usize, chunk: &Chunk) {
        let Chunk { tokens, char_span: (start, end), n_fresh } = chunk;
        self.rows.lengths.push((self.frame.n_tokens() + tokens.len()) as i32);
        self.rows.document_index.push(document as i32);
        self.rows.token_spans.push([tokens.start as i64, tokens.end as i64]);
        self.rows.char_spans.push([i64::from(*start), i64::from(*end)]);
        self.rows.fresh_tokens.push(*n_fresh as i64);
    }

    /// The rows, and no room for more.
    pub fn finish(mut self) -> Rows<T> {
        if self.format.width == Width::Longest && self.longest < self.rows.width {
            self.lay_out(self.rows.lengths.len(), self.longest, self.rows.lengths.len());
        }
        let n_elements = self.rows.lengths.len() * self.rows.width;
        self.rows.input_ids.truncate(n_elements);
        self.rows.offsets.iter_mut().for_each(|offsets| offsets.truncate(n_elements));
        self.rows
    }

    /// Room for `n_rows` rows, in the width of the longest. Where rows get longer than those before, by half more than they need, but no more
    /// than any row may: all rows are copied then, and some documents are each longer than the one before.
    fn make_room(&mut self, n_before: usize, n_rows: usize, longest: usize, n_expected: usize) {
        self.longest = self.longest.max(longest);
        let width = self.rows.width;
        let wanted = match self.format.width {
            Width::Longest if self.longest > width && n_before > 0 => (self.longest + self.longest / 2).min(self.format.max_tokens),
            Width::Longest => self.longest.max(width),
            Width::Full => width,
        };
        let n_places = self.rows.input_ids.len().checked_div(width).unwrap_or(0);
        if n_rows > n_places {
            let n_ahead = (self.most_ahead_bytes / size_of::<[i32; 2]>()).checked_div(wanted).unwrap_or(0);
            self.lay_out(n_before, wanted, n_rows.max(n_expected.min(n_ahead.max(4 * n_rows))).max(n_before + n_before / 2));
        } else if wanted > width {
            self.lay_out(n_before, wanted, n_rows.max(n_places * width / wanted)); // no more memory than before, if that will do
        }
    }

    /// Copies the first `n_rows` rows to arrays of another width with room for `n_places` rows.
    fn lay_out(&mut self, n_rows: usize, width: usize, n_places: usize) {
        let (side, pad_id) = (self.format.padding_side, T::from_id(self.format.pad_id));
        let widths = [self.rows.width, width];
        self.rows.input_ids = laid_out(T::pool(self.memory), &self.rows.input_ids, n_rows, widths, n_places, side, pad_id);
        if let Some(offsets) = &mut self.rows.offsets {
            *offsets = laid_out(&self.memory.spans, offsets, n_rows, widths, n_places, side, [0; 2]);
        }
        self.rows.width = width;
    }

    fn write(&mut self, n_before: usize, chosen: &[Row<'_>]) {
        let (frame, format, width) = (self.frame, self.format, self.rows.width);
        if width == 0 {
            return; // rows of nothing: an empty document and a tokenizer without specials
        }
        let places = n_before * width..(n_before + chosen.len()) * width;
        fill_rows(&mut self.rows.input_ids[places.clone()], chosen, width, format.n_threads, |row, chunk| {
            write_ids(row, frame, chunk.ids, format.pad_id, format.padding_side);
        });
        if let Some(offsets) = &mut self.rows.offsets {
            fill_rows(&mut offsets[places], chosen, width, format.n_threads, |row, chunk| {
                write_offsets(row, frame, chunk.spans, 0, format.padding_side);
            });
        }
    }
}

/// Rows of one width in another: padding is added or left out on its side.
fn laid_out<U: Pod>(
    pool: &Arc<Pool<U>>,
    old: &[U],
    n_rows: usize,
    [from, to]: [usize; 2],
    n_places: usize,
    side: Side,
    padding: U,
) -> Lent<U> {
    let mut new = pool.lend(n_places * to);
    let n_kept = from.min(to);
    for row in 0..n_rows {
        let (old, new) = (&old[row * from..][..from], &mut new[row * to..][..to]);
        let (kept, places, pad) = match side {
            Side::Left => (from - n_kept..from, to - n_kept..to, 0..to - n_kept),
            Side::Right => (0..n_kept, 0..n_kept, n_kept..to),
        };
        new[places].copy_from_slice(&old[kept]);
        new[pad].fill(padding);
    }
    new
}

/// Calls `write` with each row of a flat buffer and what goes there, in blocks of rows, one block a thread.
fn fill_rows<U: Send>(buffer: &mut [U], rows: &[Row<'_>], width: usize, n_threads: usize, write: impl Fn(&mut [U], &Row<'_>) + Sync) {
    let n_threads = if buffer.len() < PARALLEL_ELEMENTS { 1 } else { n_threads };
    let rows_per_thread = rows.len().div_ceil(n_threads).max(1);
    let blocks = buffer.chunks_mut(rows_per_thread * width).zip(rows.chunks(rows_per_thread)).collect();
    parallel::each(blocks, |(places, rows): (&mut [U], &[Row<'_>])| {
        places.chunks_mut(width).zip(rows).for_each(|(place, row)| write(place, row));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Tokens;
    use crate::plan::{Document, Part};
    use crate::special::FixedToken;

    /// A plan of documents of one row each, with so many tokens.
    fn plan(lengths: &[usize]) -> Plan {
        let mut part = Part::default();
        for &n_tokens in lengths {
            let start = part.tokens.len();
            let tokens: Tokens = (0..n_tokens as u32).map(|i| (10 + i, (i, i + 1))).collect();
            part.tokens.append(&tokens);
            part.chunks.push(Chunk { tokens: 0..n_tokens, char_span: (0, n_tokens as u32), n_fresh: n_tokens });
            let chunks = part.documents.len()..part.documents.len() + 1;
            part.documents.push(Document { tokens: start..start + n_tokens, chunks, n_chunks_before_select: 1 });
        }
        Plan::new(vec![part])
    }

    /// Of rows of up to so many tokens.
    fn format(max_tokens: usize) -> RowFormat {
        RowFormat { pad_id: 7, padding_side: Side::Right, width: Width::Longest, max_tokens, offsets: Offsets::EachToken, n_threads: 1 }
    }

    #[test]
    fn rows_of_nothing_are_padding_once_others_are_wider() {
        let (frame, format) = (Frame { before: vec![], after: vec![], content_type_id: 0 }, format(4096));
        let memory = RowMemory::default();
        let mut output = Output::<i64>::new(&frame, &format, &memory, 0);
        output.add(&plan(&[0, 0]), 0..2, 0, usize::MAX);
        output.add(&plan(&[2]), 0..1, 2, usize::MAX);
        assert_eq!(*output.finish().input_ids, [7, 7, 7, 7, 10, 11]);
    }

    #[test]
    fn a_wrong_guess_from_short_rows_asks_for_no_more_memory_when_rows_get_long() {
        let (frame, format) = (Frame { before: vec![], after: vec![], content_type_id: 0 }, format(4096));
        let memory = RowMemory::default();
        let mut output = Output::<i64>::new(&frame, &format, &memory, 0);
        output.add(&plan(&[1]), 0..1, 0, usize::MAX);
        output.add(&plan(&[4096]), 0..1, 1, usize::MAX);
        assert!(output.rows.input_ids.len() * size_of::<i64>() <= MOST_AHEAD_BYTES);
        assert_eq!(output.rows.width, 4096, "no row may be longer, so these need not be copied once more");
        assert_eq!(output.finish().input_ids.len(), 2 * 4096);
    }

    #[test]
    fn rows_of_long_lists_are_not_copied_where_the_guess_was_good() {
        let (frame, format) = (Frame { before: vec![], after: vec![], content_type_id: 0 }, format(512));
        let memory = RowMemory::default();
        let places = |n_text_bytes: usize, n_expected: usize| {
            let mut output = Output::<i64>::new(&frame, &format, &memory, n_text_bytes);
            output.add(&plan(&[512]), 0..1, 0, n_expected);
            output.rows.input_ids.len() / 512
        };
        assert_eq!(places(0, 100_000), MOST_AHEAD_BYTES / 8 / 512);
        assert_eq!(places(1 << 30, 65_536), 65_536);
        assert_eq!(places(1 << 26, usize::MAX), (1 << 28) / 8 / 512);
    }

    #[test]
    fn rows_of_many_plans_are_those_of_one() {
        let frame =
            Frame { before: vec![FixedToken { id: 1, type_id: 0 }], after: vec![FixedToken { id: 2, type_id: 0 }], content_type_id: 0 };
        let lengths = [3, 0, 5, 4, 9, 2, 30, 31, 1];
        let memory = RowMemory::default();
        for padding_side in [Side::Left, Side::Right] {
            for width in [Width::Longest, Width::Full] {
                for n_expected in [0, 5, usize::MAX] {
                    let format = RowFormat { padding_side, width, n_threads: 2, ..format(40) };
                    let mut whole = Output::<i64>::new(&frame, &format, &memory, 0);
                    whole.add(&plan(&lengths), 0..lengths.len(), 0, 0);
                    let mut parts = Output::<i64>::new(&frame, &format, &memory, 0);
                    for (at, length) in lengths.iter().enumerate() {
                        parts.add(&plan(&[*length]), 0..1, at, n_expected);
                    }
                    let (whole, parts) = (whole.finish(), parts.finish());
                    assert_eq!(whole.width, if width == Width::Longest { 33 } else { 40 });
                    assert_eq!(
                        (whole.width, &*whole.input_ids, whole.offsets.as_deref()),
                        (parts.width, &*parts.input_ids, parts.offsets.as_deref())
                    );
                    assert_eq!(parts.document_index, (0..lengths.len() as i32).collect::<Vec<_>>());
                    assert_eq!(whole.lengths, parts.lengths);
                }
            }
        }
    }
}
