"""What a row is: special tokens, chunk, padding, masks, offsets, spans, and the packed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import oracle
import strategies as sts
from longctx import ChunkBatch, Chunker
from tokenizers_built import NAMES, built


def rows_of(lengths: sts.Lengths, texts: list[str]) -> list[list[int]]:
    """The oracle's rows, without padding."""
    frame = oracle.frame(lengths.tokenizer)
    rows = []
    for text in texts:
        ids = oracle.content(lengths.tokenizer, text).ids
        windows = oracle.keep(len(ids), lengths.room, lengths.overlap)
        rows += [frame.row(ids[start:end]) for start, end in windows]
    return rows


def unpadded(batch: ChunkBatch, i: int) -> slice:
    """Where row ``i`` is not padding."""
    n = int(batch.lengths[i])
    return slice(batch.width - n, batch.width) if batch.padding_side == "left" else slice(0, n)


def contents(batch: ChunkBatch) -> list[Any]:
    """Everything a batch says, for comparisons."""
    arrays = (batch.input_ids, batch.lengths, batch.document_index, batch.token_spans, batch.char_spans)
    optional = (batch.offsets, batch.token_type_ids)
    return [
        *(array.tolist() for array in (*arrays, batch.fresh_tokens, batch.attention_mask)),
        *(None if array is None else array.tolist() for array in optional),
        list(batch.coverage),
    ]


@given(lengths=sts.lengths(), texts=sts.documents)
def test_rows_are_specials_chunk_specials_padding(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, **lengths.options)(texts)
    rows = rows_of(lengths, texts)
    expected = [oracle.padded(row, batch.width, batch.pad_id, batch.padding_side) for row in rows]
    assert batch.input_ids.tolist() == expected


@given(lengths=sts.lengths(), texts=sts.documents)
def test_lengths_count_what_is_not_padding(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, **lengths.options)(texts)
    assert batch.lengths.tolist() == [len(row) for row in rows_of(lengths, texts)]


@given(lengths=sts.lengths(), texts=sts.documents)
def test_longest_padding_is_as_wide_as_the_longest_row(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, padding="longest", **lengths.options)(texts)
    assert batch.width == batch.lengths.max()


@given(lengths=sts.lengths(), texts=sts.documents)
def test_max_tokens_padding_only_adds_padding(lengths: sts.Lengths, texts: list[str]) -> None:
    narrow = Chunker(lengths.tokenizer, **lengths.options)(texts)
    wide = Chunker(lengths.tokenizer, padding="max_tokens", **lengths.options)(texts)
    assert wide.width == lengths.max_tokens
    for i, row in enumerate(rows_of(lengths, texts)):
        assert wide.input_ids[i][unpadded(wide, i)].tolist() == row
    assert wide.lengths.tolist() == narrow.lengths.tolist()


@given(lengths=sts.lengths(), texts=sts.documents)
def test_attention_mask_is_one_exactly_on_the_row(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, **lengths.options)(texts)
    expected = np.zeros((batch.n_rows, batch.width), dtype=batch.input_ids.dtype)
    for i in range(batch.n_rows):
        expected[i, unpadded(batch, i)] = 1
    assert np.array_equal(batch.attention_mask, expected)


@given(lengths=sts.lengths(), texts=sts.documents)
def test_token_type_ids_are_the_tokenizers_or_all_zero(lengths: sts.Lengths, texts: list[str]) -> None:
    chunker = Chunker(lengths.tokenizer, **lengths.options)
    batch, frame = chunker(texts), oracle.frame(lengths.tokenizer)
    assert chunker.has_token_type_ids == (batch.token_type_ids is not None)
    for i, length in enumerate(batch.lengths.tolist()):
        expected = frame.types(length - frame.n_added)
        if batch.token_type_ids is None:
            assert set(expected) <= {0}
            continue
        row = oracle.padded(expected, batch.width, chunker.pad_token_type_id, batch.padding_side)
        assert batch.token_type_ids[i].tolist() == row


def test_roberta_and_t5_have_no_token_types() -> None:
    assert not any(Chunker(built(name), max_tokens=8, overlap_tokens=0).has_token_type_ids for name in ("roberta_like", "t5_like"))


def test_bert_and_xlnet_have_token_types_and_their_own_padding() -> None:
    assert Chunker(built("bert_like"), max_tokens=8, overlap_tokens=0).has_token_type_ids
    xlnet = Chunker(built("xlnet_like"), max_tokens=8, overlap_tokens=0)
    assert (xlnet.has_token_type_ids, xlnet.padding_side, xlnet.pad_token_type_id) == (True, "left", 3)
    assert xlnet.pad_id == built("xlnet_like").token_to_id("<pad>")


@pytest.mark.parametrize(("name", "pad"), [("bert_like", "[PAD]"), ("roberta_like", "<pad>"), ("t5_like", "<pad>")])
def test_pad_id_is_that_of_the_pad_token(name: str, pad: str) -> None:
    chunker = Chunker(built(name), max_tokens=8, overlap_tokens=0)
    assert chunker.pad_id == built(name).token_to_id(pad)
    assert chunker.padding_side == "right"


@given(lengths=sts.lengths(), texts=sts.documents)
def test_packed_rows_are_the_rows_without_padding(lengths: sts.Lengths, texts: list[str]) -> None:
    packed = Chunker(lengths.tokenizer, **lengths.options)(texts).packed()
    rows = rows_of(lengths, texts)
    assert packed.ids.tolist() == [token for row in rows for token in row]
    assert packed.cu_seqlens.dtype == np.int32
    assert packed.cu_seqlens.tolist() == np.cumsum([0, *map(len, rows)]).tolist()
    assert packed.positions.tolist() == [i for row in rows for i in range(len(row))]


# Tokenizers that read every word by itself. A passage says what its row holds where it begins and ends between words, and where no token
# outside of the chunk stands for the same characters, as those of one decomposed Hangul syllable do.
@given(lengths=sts.lengths(names=("bert_like", "words")), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_a_passage_between_blanks_tokenizes_to_its_packed_row(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    packed, frame = batch.packed(), oracle.frame(lengths.tokenizer)
    offsets = [oracle.content(lengths.tokenizer, text).offsets for text in texts]
    for i, document in enumerate(batch.document_index.tolist()):
        text, (start, end), (first, last) = texts[document], batch.char_spans[i].tolist(), batch.token_spans[i].tolist()
        outside = offsets[document][:first] + offsets[document][last:]
        if any(a < end and b > start for a, b in outside) or {text[:start][-1:], text[end:][:1]} - {"", " ", "\n"}:
            continue
        row = packed.ids[packed.cu_seqlens[i] : packed.cu_seqlens[i + 1]].tolist()
        assert row == frame.row(oracle.content(lengths.tokenizer, text[start:end]).ids)


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_char_spans_are_the_passage_of_their_tokens(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    offsets = [oracle.content(lengths.tokenizer, text).offsets for text in texts]
    for document, window, span in zip(batch.document_index.tolist(), batch.token_spans.tolist(), batch.char_spans.tolist(), strict=True):
        assert tuple(span) == oracle.char_span(offsets[document], tuple(window))
        assert 0 <= span[0] <= span[1] <= len(texts[document])


@given(lengths=sts.lengths(), texts=sts.documents)
def test_offsets_are_those_of_tokenizers_and_zero_elsewhere(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, offsets=True, **lengths.options)(texts)
    frame = oracle.frame(lengths.tokenizer)
    contents_of = [oracle.content(lengths.tokenizer, text) for text in texts]
    assert batch.offsets is not None
    assert batch.offsets.shape == (batch.n_rows, batch.width, 2)
    for i in range(batch.n_rows):
        start, end = batch.token_spans[i].tolist()
        before, after = [(0, 0)] * len(frame.before), [(0, 0)] * len(frame.after)
        row = [*before, *contents_of[batch.document_index[i]].offsets[start:end], *after]
        padding = [(0, 0)] * (batch.width - len(row))
        expected = padding + row if batch.padding_side == "left" else row + padding
        assert [tuple(pair) for pair in batch.offsets[i].tolist()] == expected


@given(lengths=sts.lengths(), texts=sts.documents)
def test_asking_for_offsets_changes_nothing_else(lengths: sts.Lengths, texts: list[str]) -> None:
    without = Chunker(lengths.tokenizer, **lengths.options)(texts)
    with_offsets = Chunker(lengths.tokenizer, offsets=True, **lengths.options)(texts)
    assert without.offsets is None
    assert np.array_equal(without.input_ids, with_offsets.input_ids)
    assert np.array_equal(without.char_spans, with_offsets.char_spans)


@given(lengths=sts.lengths(), texts=sts.documents)
def test_int32_rows_equal_int64_rows(lengths: sts.Lengths, texts: list[str]) -> None:
    narrow = Chunker(lengths.tokenizer, dtype="int32", **lengths.options)(texts)
    wide = Chunker(lengths.tokenizer, dtype="int64", **lengths.options)(texts)
    assert [str(batch.input_ids.dtype) for batch in (narrow, wide)] == ["int32", "int64"]
    assert [str(batch.attention_mask.dtype) for batch in (narrow, wide)] == ["int32", "int64"]
    assert contents(narrow) == contents(wide)


def test_arrays_have_the_types_and_shapes_of_the_contract() -> None:
    batch = Chunker(built("bert_like"), max_tokens=6, overlap_tokens=1, offsets=True)(["a b c d e f g", ""])
    n, width = batch.n_rows, batch.width
    expected = {
        "input_ids": (np.int64, (n, width)),
        "attention_mask": (np.int64, (n, width)),
        "token_type_ids": (np.int64, (n, width)),
        "lengths": (np.int32, (n,)),
        "document_index": (np.int32, (n,)),
        "token_spans": (np.int64, (n, 2)),
        "char_spans": (np.int64, (n, 2)),
        "fresh_tokens": (np.int64, (n,)),
        "offsets": (np.int32, (n, width, 2)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(batch, name)
        assert (array.dtype, array.shape) == (dtype, shape), name
    assert len(batch) == n
    assert batch.coverage.document_index.dtype == np.int64


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_document_is_one_row_of_specials(name: str) -> None:
    frame = oracle.frame(built(name))
    batch = Chunker(built(name), max_tokens=8, overlap_tokens=0)([""])
    assert batch.n_rows == 1
    assert batch.input_ids[0].tolist() == frame.row([])
    assert batch.token_spans.tolist() == [[0, 0]] == batch.char_spans.tolist()
    assert batch.coverage[0].reason == "empty document"


def test_no_documents_are_an_empty_batch() -> None:
    batch = Chunker(built("bert_like"), max_tokens=8, overlap_tokens=0, offsets=True)([])
    assert (len(batch), batch.n_documents, len(batch.coverage), batch.input_ids.shape[0]) == (0, 0, 0, 0)
    assert batch.packed().cu_seqlens.tolist() == [0]


def test_a_batch_is_frozen_and_its_repr_is_one_line() -> None:
    batch = Chunker(built("bert_like"), max_tokens=8, overlap_tokens=2)("the fox " * 20)
    with pytest.raises(AttributeError):
        batch.input_ids = batch.input_ids  # type: ignore[misc]
    assert "\n" not in repr(batch)
    assert str(batch.n_rows) in repr(batch)
