"""Streaming: bounded batches that say together exactly what one call says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import longctx
import strategies as sts
from longctx import ChunkBatch, Chunker
from longctx.documents import groups
from tokenizers_built import built

LENGTHS: dict[str, Any] = {"max_tokens": 8, "overlap_tokens": 2, "padding": "max_tokens", "offsets": True}


def together(batches: list[ChunkBatch]) -> dict[str, list[Any]]:
    """The rows of all batches, as one."""
    names = ("input_ids", "lengths", "document_index", "token_spans", "char_spans", "offsets", "fresh_tokens")
    return {name: [row for batch in batches for row in getattr(batch, name).tolist()] for name in names}


@given(
    lengths=sts.lengths(max_room=6), texts=sts.documents, max_rows=st.integers(1, 9), tail=sts.tails,
    boundary=sts.boundaries,
)  # fmt: skip
def test_a_stream_equals_one_call_for_any_max_rows(lengths: sts.Lengths, texts: list[str], max_rows: int, tail: str, boundary: str) -> None:
    options = {**lengths.options, "padding": "max_tokens", "offsets": True, "tail": tail, "boundary": boundary}
    chunker = Chunker(lengths.tokenizer, **options)
    batches = list(chunker.stream(iter(texts), max_rows=max_rows))
    assert together(batches) == together([chunker(texts)])
    assert all(0 < len(batch) <= max_rows for batch in batches)


@given(lengths=sts.lengths(max_room=4), texts=sts.documents, max_rows=st.integers(1, 5), k=st.integers(1, 4))
def test_coverage_in_a_stream_is_that_of_the_whole_document(lengths: sts.Lengths, texts: list[str], max_rows: int, k: int) -> None:
    chunker = Chunker(lengths.tokenizer, select="head_tail", max_chunks=k, **lengths.options)
    whole = chunker(texts).coverage
    for batch in chunker.stream(texts, max_rows=max_rows):
        assert batch.coverage.document_index.tolist() == np.unique(batch.document_index).tolist()
        for document, coverage in zip(batch.coverage.document_index.tolist(), batch.coverage, strict=True):
            assert coverage == whole[document]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("padding", ["longest", "max_tokens"])
@pytest.mark.parametrize("name", ["roberta_like", "xlnet_like", "no_specials"])
def test_a_call_reads_in_groups_and_says_what_a_stream_says(name: str, padding: str, threads: int) -> None:
    # Rows get wider from group to group, where rows of other widths are written already.
    texts = [*[""] * 3, "fox " * 700_000, *(f"fox {i} " * (1 + i // 4000) for i in range(20_000)), "fox " * 700_000, "", "dog"]
    texts = texts if padding == "max_tokens" else [*[""] * 3, *texts[4:]]
    chunker = Chunker(built(name), **LENGTHS | {"padding": padding, "threads": threads, "max_tokens": 64})
    whole = chunker(texts)
    at = 0
    for batch in chunker.stream(texts, max_rows=5_000):
        part, width = slice(at, at + len(batch)), batch.width
        own, beside = (
            (slice(whole.width - width, None), slice(whole.width - width))
            if batch.padding_side == "left"
            else (slice(width), slice(width, None))
        )
        assert (whole.input_ids[part, own] == batch.input_ids).all()
        assert (whole.input_ids[part, beside] == chunker.pad_id).all()
        assert (whole.offsets[part, own] == batch.offsets).all()
        assert not whole.offsets[part, beside].any()
        assert (whole.document_index[part] == batch.document_index).all()
        assert (whole.char_spans[part] == batch.char_spans).all()
        at += len(batch)
    assert at == len(whole)
    assert [coverage.chunks for coverage in list(whole.coverage)[-3:]] == [len(chunker([text])) for text in texts[-3:]]


def test_document_index_is_global() -> None:
    texts = ["fox " * n for n in (3, 40, 0, 25, 1)] * 20
    chunker = Chunker(built("bert_like"), **LENGTHS)
    batches = list(chunker.stream(texts, max_rows=10))
    assert np.unique(np.concatenate([batch.document_index for batch in batches])).tolist() == list(range(100))


def test_a_document_may_go_on_in_the_next_batch() -> None:
    batches = list(Chunker(built("bert_like"), **LENGTHS).stream(["fox " * 100], max_rows=3))
    assert len(batches) > 3
    assert all(batch.document_index.tolist() == [0] * len(batch) for batch in batches)


def test_a_stream_reads_ahead_only_so_far() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "the quick brown fox jumps over the lazy dog " * 20

    stream = Chunker(built("bert_like"), **LENGTHS).stream(endless(), max_rows=64)
    for _ in range(3):
        next(stream)
    assert taken < 5_000


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_column_is_read_in_groups_of_bounded_size(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array(["x", "a" * 9, "", "b" * 30, "c"], kind), pa.array([], kind), pa.array(["d" * 50, "e"], kind)])
    found = [group.to_pylist() for group in groups(column.slice(1), max_documents=4, max_chars=31)]
    assert found == [["a" * 9, ""], ["b" * 30, "c"], ["d" * 50], ["e"]]


def test_a_stream_takes_one_text_as_one_document() -> None:
    chunker = Chunker(built("bert_like"), **LENGTHS)
    assert together(list(chunker.stream("the quick fox " * 9))) == together([chunker("the quick fox " * 9)])


def test_an_empty_stream_has_no_batches() -> None:
    assert list(Chunker(built("bert_like"), **LENGTHS).stream([])) == []


def test_a_bad_document_in_a_stream_is_named_by_its_place_in_the_stream() -> None:
    stream = Chunker(built("bert_like"), **LENGTHS).stream(["fox"] * 700 + [b"\xff"], max_rows=16)
    with pytest.raises(longctx.DocumentError) as caught:
        list(stream)
    assert caught.value.document_index == 700


def test_an_error_of_the_iterable_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield "fox"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(Chunker(built("bert_like"), **LENGTHS).stream(broken()))


@pytest.mark.parametrize("max_rows", [0, -1, 2.5, True, "many", None])
def test_max_rows_must_be_a_positive_integer(max_rows: Any) -> None:
    with pytest.raises(longctx.ConfigError, match="max_rows"):
        list(Chunker(built("bert_like"), **LENGTHS).stream(["fox"], max_rows=max_rows))


def test_two_streams_of_one_chunker_do_not_disturb_each_other() -> None:
    chunker = Chunker(built("bert_like"), **LENGTHS)
    texts = [["fox " * n for n in (9, 30, 4)], ["the dog " * n for n in (12, 1, 20)]]
    collected: list[list[ChunkBatch]] = [[], []]
    for pair in zip_longest(*(chunker.stream(t, max_rows=2) for t in texts)):
        for batches, batch in zip(collected, pair, strict=True):
            batches.extend([] if batch is None else [batch])
    assert [together(batches) for batches in collected] == [together([chunker(t)]) for t in texts]
