use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::HeadStart;
use super::windows::Form;
use crate::batch::{Reader, Spare};
use crate::config::{Boundary, ChunkConfig, Select, Tail};
use crate::documents::MAX_DOCUMENT_BYTES;
use crate::engine::{Engine, Piece, Tokens};
use crate::growing::Writer;
use crate::output::{Offsets, Output, RowFormat, Width};
use crate::rows::{RowMemory, Side};
use crate::special::{FixedToken, Frame};

const PIECE_BYTES: usize = 60_000;

/// Bytes after a piece in which refused characters are looked for.
const REACH: usize = 8;

/// A token for each character but blanks; cut anywhere between characters. Counts the pieces it reads.
#[derive(Default)]
struct Characters(Arc<AtomicUsize>);

impl Engine for Characters {
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        if text.contains('~') {
            start = 7;
            pieces.push(Piece { context_start: 0, own: 0..start });
        }
        while start < text.len() {
            let end = text.ceil_char_boundary((start + PIECE_BYTES).min(text.len()));
            pieces.push(Piece { context_start: start, own: start..end });
            start = end;
        }
        pieces
    }

    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> Result<(), String> {
        let after = &text.as_bytes()[piece.own.end..];
        if let Some(at) = after.iter().take(REACH).position(|&byte| byte == b'!') {
            return Err(format!("refused at {}", piece.own.end + at));
        }
        for (at, character) in text[piece.own.clone()].char_indices().filter(|&(_, character)| character != ' ') {
            if character == '!' {
                return Err(format!("refused at {}", piece.own.start + at));
            }
            let start = (piece.own.start + at) as u32;
            tokens.push(character as u32, (start, start + character.len_utf8() as u32));
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn reads_past(&self) -> usize {
        REACH
    }

    fn explain(&self) -> String {
        "characters".into()
    }
}

fn reader(n_threads: usize, offsets: Offsets, lengths: [usize; 2]) -> Reader {
    counting_reader(n_threads, offsets, lengths).0
}

fn counting_reader(n_threads: usize, offsets: Offsets, [room_tokens, overlap_tokens]: [usize; 2]) -> (Reader, Arc<AtomicUsize>) {
    let n_read = Arc::default();
    let config = ChunkConfig { room_tokens, overlap_tokens, boundary: Boundary::Token, tail: Tail::Keep, select: Select::All };
    let engine = Box::new(Characters(Arc::clone(&n_read)));
    (Reader { engine, config, offsets, n_threads, spare: Spare::default() }, n_read)
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

/// Reads a text as it grows, by a writer that waits, after each part but the last, until so many pieces are read.
fn head_start<'f>(
    reader: &Reader,
    parts: &[(&str, usize)],
    n_read: &(dyn Fn() -> usize + Sync),
    (frame, format, memory): (&'f Frame, &'f RowFormat, &'f RowMemory),
) -> Option<HeadStart<'f, i64>> {
    let (mut writer, is_there, n_bytes) = (Writer::default(), AtomicBool::new(false), parts.iter().map(|(part, _)| part.len()).sum());
    writer.push(parts[0].0, |_| n_bytes);
    let text = Arc::clone(writer.text());
    thread::scope(|scope| {
        let head = scope.spawn(|| reader.head_start::<i64>((&text, n_bytes), frame, format, memory, &is_there));
        for (part, (_, n_awaited)) in parts[1..].iter().zip(parts) {
            while n_read() < *n_awaited && !head.is_finished() {
                thread::yield_now();
            }
            is_there.store(std::ptr::eq(part, &raw const parts[parts.len() - 1]), Ordering::Relaxed);
            writer.push(part.0, |_| unreachable!("there is room"));
        }
        head.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn assert_head_start_changes_nothing(
    beginning: &str,
    end: &str,
    n_threads: usize,
    lengths: [usize; 2],
    n_awaited: usize,
    n_pieces: Range<usize>,
) {
    let frame = Frame { before: vec![FixedToken { id: 1, type_id: 0 }], after: vec![], content_type_id: 0 };
    let text = beginning.to_owned() + end;
    for offsets in [Offsets::EachToken, Offsets::ChunksOnly] {
        let (reader, n_read) = counting_reader(n_threads, offsets, lengths);
        assert!(text.len() > reader.group_bytes());
        let format = RowFormat { max_tokens: 1 + lengths[0], ..format(offsets, Side::Left, n_threads) };
        let memory = RowMemory::default();
        let n_read = || n_read.load(Ordering::Relaxed);
        let expected = reader.rows::<i64>(&[&text], &frame, &format, &memory);
        let n_before = n_read();
        // The second part is looked at when it is as long as the first.
        let (first, second) = beginning.split_at(beginning.ceil_char_boundary(5 * PIECE_BYTES + 1).min(beginning.len()));
        let parts = [(first, n_before + n_awaited.min(4)), (second, n_before + n_awaited), (end, 0)];
        let head = head_start(&reader, &parts, &n_read, (&frame, &format, &memory));
        let n_in_head = head.as_ref().map_or(0, |head| head.pieces.len());
        assert!(n_pieces.contains(&n_in_head), "{n_in_head} pieces in {n_pieces:?}");
        let read = reader.rows_after(head, &[&text], &frame, &format, &memory);
        match (read, expected) {
            (Ok((rows, coverage)), Ok((expected, expected_coverage))) => {
                assert!(rows.width == expected.width && *rows.input_ids == *expected.input_ids && coverage == expected_coverage);
                assert!(rows.offsets.as_deref() == expected.offsets.as_deref() && rows.char_spans == expected.char_spans);
                assert!(rows.token_spans == expected.token_spans && rows.fresh_tokens == expected.fresh_tokens);
                assert!(rows.lengths == expected.lengths && rows.document_index == expected.document_index);
            }
            (read, expected) => assert_eq!(read.err().map(|e| e.to_string()), expected.err().map(|e| e.to_string())),
        }
    }
}

#[test]
fn a_head_start_changes_no_row() {
    let (dense, sparse) = ("é 中   ".repeat(100_000), "x   é   ".repeat(100_000));
    let (denser, sparser) = ("a🎉z".repeat(500_000), "x".to_owned() + &" ".repeat(3_000_000));
    for (n_threads, lengths) in [(2, [510, 64]), (3, [40, 0]), (2, [3000, 99])] {
        for (beginning, end) in [(&dense, &sparser), (&sparse, &denser), (&dense, &denser)] {
            // Four at first; then one alone, and some more.
            assert_head_start_changes_nothing(beginning, end, n_threads, lengths, 10, 5..15);
        }
    }
}

#[test]
fn a_head_start_ends_where_there_is_no_place_and_where_a_piece_is_refused() {
    // Rows are asked for that the first piece speaks for.
    let text = " ".repeat(PIECE_BYTES - 1000) + &"x".repeat(1000 + 20 * PIECE_BYTES);
    assert_head_start_changes_nothing(&text, &"y".repeat(3_000_000), 2, [510, 64], 15, 1..4);
    let refused = "x".repeat(5 * PIECE_BYTES + REACH) + "!" + &"x".repeat(5 * PIECE_BYTES);
    for n_threads in [2, 3] {
        assert_head_start_changes_nothing(&refused, &"y".repeat(3_000_000), n_threads, [510, 64], 5, 5..6);
        let (almost, rest) = ("x".repeat(5 * PIECE_BYTES + 1), "!".to_owned() + &"y".repeat(3_000_000));
        assert_head_start_changes_nothing(&almost, &rest, n_threads, [510, 64], 4, 4..5);
    }
}

#[test]
fn a_head_start_whose_pieces_are_not_those_of_the_text_is_thrown_away() {
    let beginning = "x".repeat(5 * PIECE_BYTES + 1);
    // With a tilde anywhere, a text is cut elsewhere.
    assert_head_start_changes_nothing(&beginning, &("~".to_owned() + &"y".repeat(3_000_000)), 2, [510, 64], 4, 4..5);
}

#[test]
fn there_is_no_head_start_without_rows_or_where_the_text_is_too_long_or_there_already() {
    let (frame, memory) = (Frame { before: vec![], after: vec![], content_type_id: 0 }, RowMemory::default());
    let (format, reader) = (format(Offsets::EachToken, Side::Right, 2), reader(2, Offsets::EachToken, [510, 64]));
    let mut writer = Writer::default();
    writer.push(&"x".repeat(1_000_000), |_| 0);
    let rows = |n_bytes: usize, is_there: bool| {
        reader.head_start::<i64>((writer.text(), n_bytes), &frame, &format, &memory, &AtomicBool::new(is_there)).is_some()
    };
    assert!(!rows(MAX_DOCUMENT_BYTES + 1, false) && !rows(2 << 20, false) && !rows(10_000_000, true));
    assert_head_start_changes_nothing(&" ".repeat(20 * PIECE_BYTES), &"y".repeat(3_000_000), 2, [510, 64], 10, 0..1);
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
