//! Rows of a long document, written piece by piece by the threads that read it: no more tokens are held than those of the pieces at hand.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{Reader, byte_span, expected};
use crate::config::{Boundary, ChunkConfig, Select, Tail};
use crate::documents::MAX_DOCUMENT_BYTES;
use crate::engine::{Piece, Tokens, encode_into};
use crate::join::{Hand, Joiner, Target};
use crate::memory::Lent;
use crate::offsets::CharIndex;
use crate::output::{Offsets, Output, RowFormat, RowRoom};
use crate::parallel;
use crate::plan::Chunk;
use crate::rows::{RowId, RowMemory, write_ids, write_offsets};
use crate::special::Frame;

/// Pieces, spread over the document, that are read first, to know how many rows there will be.
const N_SAMPLES: usize = if cfg!(test) { 1 } else { 16 };

/// Rows that there is room for, beside those that the samples speak for, in parts of these. Room that is not used is never touched.
const SPARE_ROWS: f64 = if cfg!(test) { 0.0 } else { 0.1 };

/// The same, where only the beginning of a document speaks for the rest.
const SPARE_READY_ROWS: f64 = 0.5;

/// Rows that the samples speak for are asked for up to so many bytes of ids for a byte of text. Where chunks overlap that much, or the
/// samples are no fair ones, rows beyond wait until it is known how many there are.
const MOST_BYTES_AHEAD: usize = 16;

/// Memory that is made ready before it is asked once more whether there is still time.
const READY_BYTES: usize = 2 << 20;

/// Are chunks cut by counting tokens alone, so that those that come later have no say?
pub fn is_cut_by_count(config: &ChunkConfig) -> bool {
    config.boundary == Boundary::Token && config.tail == Tail::Keep && config.select == Select::All
}

/// The windows of [`plan_chunks`](crate::chunk::plan_chunks), of the tokens of one piece after the other.
#[derive(Debug, Default)]
struct Windows {
    n_pieces_left: usize,
    /// Windows that are filled.
    n_cut: usize,
    /// Tokens from the start of the next window on, their spans in characters, and how many are before them.
    carried: Tokens,
    n_before: usize,
    /// How many more bytes than characters the pieces so far have.
    n_surplus: u32,
}

impl Windows {
    /// How many the next piece fills: those that more tokens follow, and after the last piece the last one.
    fn n_filled(&self, n_tokens: usize, form: &Form<'_>) -> usize {
        form.n_followed(self.carried.len() + n_tokens) + usize::from(self.n_pieces_left == 1)
    }

    /// Takes a piece in, and gives the tokens that were carried to it.
    fn advance(&mut self, piece: &ReadPiece, form: &Form<'_>) -> Tokens {
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
    fn n_tokens(&self) -> usize {
        self.n_before + self.carried.len()
    }

    /// One that was filled.
    fn chunk(&self, window: usize, char_span: (u32, u32), form: &Form<'_>) -> Chunk {
        let start = window * form.stride_tokens;
        let end = (start + form.room_tokens).min(self.n_tokens());
        let n_read = if window == 0 { 0 } else { start + form.room_tokens - form.stride_tokens };
        Chunk { tokens: start..end, char_span, n_fresh: end - n_read }
    }
}

/// What is known of a piece.
#[derive(Debug, Default)]
struct ReadPiece {
    /// Spans are in characters where rows want those of each token, in bytes otherwise.
    tokens: Tokens,
    char_index: CharIndex,
}

/// What rows are made of, beside tokens.
#[derive(Debug, Clone, Copy)]
struct Form<'f> {
    frame: &'f Frame,
    format: &'f RowFormat,
    room_tokens: usize,
    /// From a window's start to the next one's.
    stride_tokens: usize,
}

impl Form<'_> {
    /// So many windows of `n_tokens` tokens are followed by more.
    fn n_followed(&self, n_tokens: usize) -> usize {
        n_tokens.saturating_sub(self.room_tokens).div_ceil(self.stride_tokens)
    }

    /// So many windows `n_tokens` tokens have.
    fn n_windows(&self, n_tokens: usize) -> usize {
        self.n_followed(n_tokens) + 1
    }

    /// Rows that are asked for ahead where a text of `n_bytes` is expected to have `n_tokens` tokens.
    fn n_rows_ahead<T>(&self, n_tokens: usize, n_bytes: usize) -> usize {
        let row_bytes = (self.frame.n_tokens() + self.room_tokens) * size_of::<T>();
        self.n_windows(n_tokens).min(1 + n_bytes * MOST_BYTES_AHEAD / row_bytes)
    }

    fn has_offsets(&self) -> bool {
        self.format.offsets == Offsets::EachToken
    }

    /// A span of a piece, before which there are so many more bytes than characters, in characters.
    fn char_span(&self, piece: &ReadPiece, n_surplus: u32, span: (u32, u32)) -> (u32, u32) {
        let (start, end) = if self.has_offsets() { span } else { piece.char_index.char_span(span) };
        (start - n_surplus, end - n_surplus)
    }

    /// Appends some tokens of a piece, with their spans in characters.
    fn append(&self, piece: &ReadPiece, n_surplus: u32, tokens: Range<usize>, all: &mut Tokens) {
        let (ids, spans) = piece.tokens.part(tokens);
        ids.iter().zip(spans).for_each(|(&id, &span)| all.push(id, self.char_span(piece, n_surplus, span)));
    }
}

/// Places for the rows of a document.
struct RowTarget<'o, T> {
    form: Form<'o>,
    windows: Windows,
    room: RowRoom<'o, T>,
    /// `(n_rows,)`: of chunks.
    char_spans: &'o mut [(u32, u32)],
}

/// Places for the rows that a piece fills.
struct RowPlace<'o, T> {
    form: Form<'o>,
    /// Tokens before the piece from the first row's start on.
    carried: Tokens,
    n_surplus: u32,
    room: RowRoom<'o, T>,
    char_spans: &'o mut [(u32, u32)],
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

impl Reader {
    /// Makes memory ready for the rows of a text of `n_bytes` that begins like this, in steps, until it `is_there`: the system clears each
    /// page when it is touched first, and that takes a sixth of the time of reading. The memory is lent next; where the text is sparser than its
    /// beginning, some of it stays with the rows unused.
    pub fn make_ready<T: RowId>(
        &self,
        (beginning, n_bytes): (&str, usize),
        frame: &Frame,
        format: &RowFormat,
        memory: &RowMemory,
        is_there: &AtomicBool,
    ) {
        let mut tokens = Tokens::default();
        if is_there.load(Ordering::Relaxed)
            || n_bytes > MAX_DOCUMENT_BYTES
            || encode_into(self.engine.as_ref(), beginning, &mut tokens).is_err()
        {
            return; // whoever reads the text says what is wrong with it
        }
        let form = self.form(frame, format);
        let n_places = |spare: f64| {
            let n_tokens = expected(tokens.len(), beginning.len(), n_bytes, spare);
            form.n_rows_ahead::<T>(n_tokens, n_bytes) * (frame.n_tokens() + form.room_tokens)
        };
        // Room for all rows, if the text is much denser than its beginning; but no more is touched than that speaks for.
        let (n_lent, n_touched) = (n_places(SPARE_READY_ROWS), n_places(0.0));
        let mut ids = T::pool(memory).lend(n_lent);
        let mut offsets = form.has_offsets().then(|| memory.spans.lend(n_lent));
        let n_at_once = READY_BYTES / size_of::<T>();
        for start in (0..n_touched).step_by(n_at_once) {
            if is_there.load(Ordering::Relaxed) {
                break;
            }
            let end = (start + n_at_once).min(n_touched);
            ids.touch(start..end);
            if let Some(offsets) = &mut offsets {
                offsets.touch(start..end);
            }
        }
        ids.lend_next();
        offsets.into_iter().for_each(Lent::lend_next);
    }

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
        let target =
            RowTarget { form: self, windows, room: output.room(n_rows, self.room_tokens, n_expected), char_spans: &mut char_spans };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Spare;
    use crate::engine::Engine;
    use crate::output::Width;
    use crate::rows::{RowMemory, Side};
    use crate::special::FixedToken;

    const PIECE_BYTES: usize = 60_000;

    /// A token for each character but blanks; cut anywhere between characters.
    struct Characters;

    impl Engine for Characters {
        fn pieces(&self, text: &str) -> Vec<Piece> {
            let (mut pieces, mut start) = (Vec::new(), 0);
            while start < text.len() {
                let end = text.ceil_char_boundary((start + PIECE_BYTES).min(text.len()));
                pieces.push(Piece { context_start: start, own: start..end });
                start = end;
            }
            pieces
        }

        fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> Result<(), String> {
            for (at, character) in text[piece.own.clone()].char_indices().filter(|&(_, character)| character != ' ') {
                if character == '!' {
                    return Err(format!("refused at {}", piece.own.start + at));
                }
                let start = (piece.own.start + at) as u32;
                tokens.push(character as u32, (start, start + character.len_utf8() as u32));
            }
            Ok(())
        }

        fn explain(&self) -> String {
            "characters".into()
        }
    }

    fn reader(n_threads: usize, offsets: Offsets, [room_tokens, overlap_tokens]: [usize; 2]) -> Reader {
        let config = ChunkConfig { room_tokens, overlap_tokens, boundary: Boundary::Token, tail: Tail::Keep, select: Select::All };
        Reader { engine: Box::new(Characters), config, offsets, n_threads, spare: Spare::default() }
    }

    fn format(offsets: Offsets, padding_side: Side, n_threads: usize) -> RowFormat {
        RowFormat { pad_id: 7, padding_side, width: Width::Longest, max_tokens: 512, offsets, n_threads }
    }

    /// Rows that are written early have to be those of a plan, where documents before and after are short.
    fn assert_rows_of_plan(text: &str, n_threads: usize, offsets: Offsets, lengths: [usize; 2], padding_side: Side) {
        let reader = reader(n_threads, offsets, lengths);
        let token = |id| FixedToken { id, type_id: 0 };
        let frame = Frame { before: vec![token(1)], after: vec![token(2)], content_type_id: 0 };
        let format = RowFormat { max_tokens: frame.n_tokens() + lengths[0], ..format(offsets, padding_side, n_threads) };
        let (memory, documents) = (RowMemory::default(), ["head", text, "", text, "tail"]);
        let read = (reader.rows::<i64>(&documents, &frame, &format, &memory), reader.plan(&documents));
        assert!(read.0.is_ok() && read.1.is_ok());
        let (Ok((rows, coverage)), Ok(plan)) = read else { return };
        let mut expected = Output::<i64>::new(&frame, &format, &memory, 0);
        expected.add(&plan, 0..plan.n_rows(), 0, 0);
        let expected = expected.finish();
        let context = format!("{n_threads} threads, {lengths:?}");
        assert!(rows.width == expected.width && *rows.input_ids == *expected.input_ids, "{context}");
        assert!(rows.offsets.as_deref() == expected.offsets.as_deref(), "{context}");
        assert!(rows.char_spans == expected.char_spans && rows.token_spans == expected.token_spans, "{context}");
        assert!(rows.lengths == expected.lengths && rows.document_index == expected.document_index, "{context}");
        assert!(rows.fresh_tokens == expected.fresh_tokens && coverage == plan.coverage(0..documents.len()), "{context}");
    }

    #[test]
    fn rows_written_early_are_those_of_a_plan() {
        // The first piece, which alone is a sample here, has more tokens than the others, or fewer, so that there are too few places.
        let dense = "x".repeat(100_000) + &"é 中   ".repeat(400_000);
        let sparse = "x   é   ".repeat(20_000) + &"a🎉z".repeat(500_000);
        for text in [dense, sparse] {
            for (n_threads, lengths) in [(1, [510, 64]), (2, [510, 64]), (3, [40, 37]), (2, [100_000, 99])] {
                assert_rows_of_plan(&text, n_threads, Offsets::EachToken, lengths, Side::Right);
                assert_rows_of_plan(&text, n_threads, Offsets::ChunksOnly, lengths, Side::Left);
            }
        }
    }

    #[test]
    fn unfair_samples_and_wide_overlaps_ask_for_no_more_than_the_text_is_worth() {
        let frame = Frame { before: vec![], after: vec![], content_type_id: 0 };
        let format = format(Offsets::EachToken, Side::Right, 1);
        let ahead = |overlap_tokens: usize, n_tokens: usize| {
            let form = Form { frame: &frame, format: &format, room_tokens: 500, stride_tokens: 500 - overlap_tokens };
            form.n_rows_ahead::<i64>(n_tokens, 100_000_000)
        };
        assert_eq!(ahead(0, 25_000_000), 50_000);
        assert_eq!(ahead(499, 100_000_000), 400_001);
    }

    #[test]
    fn memory_made_ready_is_lent_to_the_rows_of_the_text_and_changes_none() {
        let frame = Frame { before: vec![], after: vec![], content_type_id: 0 };
        let text = "é 中   ".repeat(1_500_000);
        let format = RowFormat { max_tokens: 510, ..format(Offsets::EachToken, Side::Right, 2) };
        let reader = reader(2, Offsets::EachToken, [510, 64]);
        let expected = reader.rows::<i64>(&[&text], &frame, &format, &RowMemory::default());
        let memory = RowMemory::default();
        let n_kept = || [i64::pool(&memory).n_kept(), memory.spans.n_kept()];
        let make_ready = |is_there: bool| {
            reader.make_ready::<i64>((&text[..6000], text.len()), &frame, &format, &memory, &AtomicBool::new(is_there));
        };
        make_ready(true);
        assert_eq!(n_kept(), [0, 0], "the text was faster");
        make_ready(false);
        let n_ready = n_kept();
        let read = reader.rows::<i64>(&[&text], &frame, &format, &memory);
        assert!(expected.is_ok() && read.is_ok());
        let (Ok((expected, _)), Ok((rows, _))) = (expected, read) else { return };
        assert!(n_ready.iter().all(|n| (rows.input_ids.len()..2 * rows.input_ids.len()).contains(n)), "{n_ready:?}");
        assert_eq!(n_kept(), [0, 0], "it was lent");
        assert!(*rows.input_ids == *expected.input_ids && rows.offsets.as_deref() == expected.offsets.as_deref());
    }

    #[test]
    fn nothing_is_made_ready_for_a_text_that_is_refused() {
        let frame = Frame { before: vec![], after: vec![], content_type_id: 0 };
        let memory = RowMemory::default();
        let (reader, format) = (reader(2, Offsets::EachToken, [510, 64]), format(Offsets::EachToken, Side::Right, 2));
        reader.make_ready::<i64>(("what!", 10_000_000), &frame, &format, &memory, &AtomicBool::new(false));
        reader.make_ready::<i64>(("what?", MAX_DOCUMENT_BYTES + 1), &frame, &format, &memory, &AtomicBool::new(false));
        assert_eq!([i64::pool(&memory).n_kept(), memory.spans.n_kept()], [0, 0]);
    }

    #[test]
    fn documents_of_few_tokens_and_of_exactly_full_rows_are_cut_alike() {
        for n_tokens in [0, 1, 509, 510, 511, 510 + 446, 510 + 446 + 1] {
            let text = "x".repeat(n_tokens) + &" ".repeat(3_000_000);
            assert_rows_of_plan(&text, 2, Offsets::EachToken, [510, 64], Side::Right);
            assert_rows_of_plan(&(" ".repeat(3_000_000) + &"x".repeat(n_tokens)), 1, Offsets::ChunksOnly, [510, 64], Side::Right);
        }
    }

    #[test]
    fn the_first_refusal_is_told_whatever_is_read_first() {
        let text = "x".repeat(2_000_000) + "!" + &"x".repeat(1_000_000) + "!";
        let frame = Frame { before: vec![], after: vec![], content_type_id: 0 };
        for n_threads in [1, 2] {
            let format = format(Offsets::EachToken, Side::Right, n_threads);
            let read = reader(n_threads, Offsets::EachToken, [510, 64]).rows::<i64>(&["a", &text], &frame, &format, &RowMemory::default());
            assert!(matches!(read, Err(error) if error.to_string().contains("refused at 2000000")));
        }
    }
}
