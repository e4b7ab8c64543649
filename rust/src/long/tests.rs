use std::sync::atomic::AtomicBool;

use super::windows::Form;
use crate::batch::{Reader, Spare};
use crate::config::{Boundary, ChunkConfig, Select, Tail};
use crate::documents::MAX_DOCUMENT_BYTES;
use crate::engine::{Engine, Piece, Tokens};
use crate::output::{Offsets, Output, RowFormat, Width};
use crate::rows::{RowId, RowMemory, Side};
use crate::special::{FixedToken, Frame};

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
