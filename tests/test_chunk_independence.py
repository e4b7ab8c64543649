"""What a result must not depend on: threads, other documents, earlier calls, copies, and the container of the texts."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies as sts
from longctx import Chunker
from test_chunk_rows import contents
from tokenizers_built import built, fresh

TEXTS = ["The quick brown fox. " * 9, "", "naïve Быстрая 猫 👩‍👩‍👧 dog", "a\x00b", "e\u0301" * 20]
LENGTHS: dict[str, Any] = {"max_tokens": 9, "overlap_tokens": 2, "offsets": True}


@given(lengths=sts.lengths(), texts=sts.documents, threads=st.integers(2, 8), boundary=sts.boundaries)
def test_result_is_independent_of_threads(lengths: sts.Lengths, texts: list[str], threads: int, boundary: str) -> None:
    options = {**lengths.options, "offsets": True, "boundary": boundary}
    many = Chunker(lengths.tokenizer, threads=threads, **options)(texts)
    one = Chunker(lengths.tokenizer, threads=1, **options)(texts)
    assert contents(many) == contents(one)


@pytest.mark.parametrize("name", ["bert_like", "roberta_like", "t5_like", "xlnet_like"])
def test_a_long_document_is_independent_of_threads(name: str) -> None:
    text = " ".join(TEXTS) * 400
    results = [contents(Chunker(built(name), threads=n, **LENGTHS)([text, *TEXTS])) for n in (None, 1, 2, 5)]
    assert all(result == results[0] for result in results)


def test_a_document_that_is_joined_several_times_is_independent_of_threads() -> None:
    text = "sparse " * 300_000 + "".join(map(chr, range(33, 127))) * 80_000 + " ".join(TEXTS) * 3_000  # more tokens a byte, the later
    options: dict[str, Any] = {"max_tokens": 512, "overlap_tokens": 64, "offsets": True}
    one, two = (Chunker(built("roberta_like"), threads=n, **options)(text) for n in (1, 2))
    for array in ("input_ids", "offsets", "char_spans", "token_spans", "fresh_tokens"):
        np.testing.assert_array_equal(getattr(two, array), getattr(one, array))


@pytest.mark.parametrize("name", ["bert_like", "roberta_like", "t5_like", "xlnet_like"])
def test_a_text_that_is_read_while_it_is_copied_has_the_rows_of_its_bytes(name: str) -> None:
    text = " ".join(TEXTS) * 30_000  # not ASCII, and alone in its call
    options: dict[str, Any] = {"max_tokens": 512, "overlap_tokens": 64, "offsets": True}
    one = Chunker(built(name), threads=1, **options)(text.encode())
    for threads in (2, 5):
        chunker = Chunker(built(name), threads=threads, **options)
        for _ in range(3):
            several = chunker(text)
            for array in ("input_ids", "lengths", "offsets", "char_spans", "token_spans", "fresh_tokens"):
                np.testing.assert_array_equal(getattr(several, array), getattr(one, array))
            assert list(several.coverage) == list(one.coverage)


@pytest.mark.parametrize("name", ["bert_like", "roberta_like", "t5_like"])
@pytest.mark.parametrize("overlap_tokens", [0, 64, 500])
def test_rows_of_a_long_document_are_those_of_its_plan(name: str, overlap_tokens: int) -> None:
    texts = ["head", " ".join(TEXTS) * 20_000, "", "tail"]
    for threads in (1, 2):
        options: dict[str, Any] = {"max_tokens": 512, "overlap_tokens": overlap_tokens, "offsets": threads == 1, "threads": threads}
        chunker = Chunker(built(name), **options)
        batch = chunker(texts)
        planned = chunker.plan(texts).batch(0, len(batch))
        for array in ("input_ids", "lengths", "document_index", "offsets", "char_spans", "token_spans", "fresh_tokens"):
            np.testing.assert_array_equal(getattr(batch, array), getattr(planned, array))
        assert list(batch.coverage) == list(planned.coverage)


def test_a_long_text_may_be_in_a_list_twice() -> None:
    text = "naïve fox " * 1_000
    chunker = Chunker(built("roberta_like"), **LENGTHS)
    assert contents(chunker([text, "x", text])) == contents(chunker([text.encode(), "x", text.encode()]))


@pytest.mark.parametrize("character", ["\u00e9", "\u2019", "\u4e2d", "\U0001f600"])
def test_a_long_text_is_the_same_as_its_bytes(character: str) -> None:
    class Text(str):
        __slots__ = ()

    text = "plain words " * 3_000 + character * 9_000 + "more of them, " * 1_000 + character
    chunker = Chunker(built("roberta_like"), **LENGTHS)
    expected = contents(chunker([text.encode(), "short"]))
    assert contents(chunker([text, "short"])) == contents(chunker([Text(text), "short"])) == expected


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_result_is_independent_of_batch_mates(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    chunker = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, padding="max_tokens", offsets=True, **lengths.options)
    together, alone = chunker(texts), [chunker(text) for text in texts]
    assert together.input_ids.tolist() == [row for batch in alone for row in batch.input_ids.tolist()]
    assert together.char_spans.tolist() == [row for batch in alone for row in batch.char_spans.tolist()]
    assert together.offsets is not None
    assert together.offsets.tolist() == [row for batch in alone if batch.offsets is not None for row in batch.offsets.tolist()]
    assert list(together.coverage) == [batch.coverage[0] for batch in alone]


@given(lengths=sts.lengths(), texts=sts.documents, earlier=sts.documents)
def test_result_is_independent_of_call_history(lengths: sts.Lengths, texts: list[str], earlier: list[str]) -> None:
    used, new = (Chunker(lengths.tokenizer, offsets=True, **lengths.options) for _ in range(2))
    used(earlier)
    assert contents(used(texts)) == contents(new(texts)) == contents(used(texts))


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails)
def test_a_pickled_chunker_gives_the_same_result(lengths: sts.Lengths, texts: list[str], tail: str) -> None:
    chunker = Chunker(lengths.tokenizer, tail=tail, offsets=True, **lengths.options)
    copy = pickle.loads(pickle.dumps(chunker))
    assert contents(copy(texts)) == contents(chunker(texts))
    assert (copy.pad_id, copy.max_tokens, copy.room_tokens) == (chunker.pad_id, chunker.max_tokens, chunker.room_tokens)


def test_every_option_survives_pickling() -> None:
    options: dict[str, Any] = {
        "boundary": "sentence", "tail": "merge", "select": "random", "max_chunks": 3, "seed": 7, "specials": "parse",
        "prefix": "the fox", "padding": "max_tokens", "dtype": "int32", "threads": 2,
    }  # fmt: skip
    chunker = Chunker(built("bert_like"), **LENGTHS, **options)
    copy = pickle.loads(pickle.dumps(chunker))
    texts = [*TEXTS, "[SEP] fox"]
    assert contents(copy(texts)) == contents(chunker(texts))
    assert copy(texts).input_ids.dtype == "int32"
    assert copy.explain() == chunker.explain()


def test_a_pickled_batch_is_the_same_batch() -> None:
    batch = Chunker(built("bert_like"), **LENGTHS)(TEXTS)
    assert contents(pickle.loads(pickle.dumps(batch))) == contents(batch)


def test_the_tokenizer_object_stays_as_it_was_and_later_changes_do_not_matter() -> None:
    tokenizer = fresh("bert_like_with_baked_lengths")
    before = tokenizer.to_str()
    chunker = Chunker(tokenizer, **LENGTHS)
    expected = contents(chunker(TEXTS))
    assert tokenizer.to_str() == before
    tokenizer.add_tokens(["quick brown"])
    tokenizer.enable_truncation(3)
    assert contents(chunker(TEXTS)) == expected


@given(lengths=sts.lengths(), texts=sts.documents)
def test_bytes_equal_str(lengths: sts.Lengths, texts: list[str]) -> None:
    chunker = Chunker(lengths.tokenizer, offsets=True, **lengths.options)
    expected = contents(chunker(texts))
    assert contents(chunker([text.encode() for text in texts])) == expected
    mixed = [text.encode() if i % 2 else text for i, text in enumerate(texts)]
    assert contents(chunker(mixed)) == expected


def test_one_text_is_a_list_of_one() -> None:
    chunker = Chunker(built("bert_like"), **LENGTHS)
    expected = contents(chunker([TEXTS[2]]))
    assert contents(chunker(TEXTS[2])) == expected
    assert contents(chunker(TEXTS[2].encode())) == expected


class Letters(str):
    """A str subclass, as many libraries return."""


CONTAINERS: dict[str, Callable[[Sequence[str]], object]] = {
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "str subclass": lambda texts: [Letters(text) for text in texts],
    "Utf8": lambda texts: pa.array(texts, pa.string()),
    "LargeUtf8": lambda texts: pa.array(texts, pa.large_string()),
    "Utf8View": lambda texts: pa.array(texts, pa.string_view()),
    "chunked Utf8": lambda texts: pa.chunked_array([texts[:2], [], texts[2:]], pa.string()),
    "chunked Utf8View": lambda texts: pa.chunked_array([texts[:2], texts[2:]], pa.string_view()),
    "sliced Utf8": lambda texts: pa.array(["before", *texts, "after"], pa.string()).slice(1, len(texts)),
    "sliced LargeUtf8": lambda texts: pa.array(["before", *texts, "after"], pa.large_string()).slice(1, len(texts)),
    "sliced Utf8View": lambda texts: pa.array(["before", *texts, "after"], pa.string_view()).slice(1, len(texts)),
    "sliced chunks": lambda texts: pa.chunked_array([["before", *texts[:2]], [*texts[2:], "x"]]).slice(1, len(texts)),
    "dictionary": lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
    "pandas categorical": lambda texts: pd.Series(list(texts)).astype("category"),
    "polars categorical": lambda texts: pl.Series("text", list(texts), dtype=pl.Categorical),
    "NumPy": lambda texts: np.array(texts, dtype=object),
    "table column": lambda texts: pa.table({"text": list(texts)})["text"],
    "pandas object": lambda texts: pd.Series(list(texts), dtype=object, index=range(7, 7 + len(texts))),
    "pandas str": lambda texts: pd.Series(list(texts), dtype="str"),
    "pandas Arrow": lambda texts: pd.Series(list(texts), dtype="string[pyarrow]"),
    "polars": lambda texts: pl.Series("text", list(texts)),
    "polars column": lambda texts: pl.DataFrame({"text": list(texts)})["text"],
}


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_every_container_of_texts_equals_a_list(kind: str) -> None:
    chunker = Chunker(built("bert_like"), **LENGTHS)
    assert contents(chunker(CONTAINERS[kind](TEXTS))) == contents(chunker(TEXTS))


@pytest.mark.parametrize("kind", sorted(set(CONTAINERS) - {"chunked Utf8", "chunked Utf8View", "sliced chunks"}))
def test_every_empty_container_is_an_empty_batch(kind: str) -> None:
    assert len(Chunker(built("bert_like"), **LENGTHS)(CONTAINERS[kind]([]))) == 0


@given(texts=sts.documents, cut=st.integers(0, 5))
def test_arrow_columns_of_any_text_equal_lists(texts: list[str], cut: int) -> None:
    chunker = Chunker(built("roberta_like"), **LENGTHS)
    for arrow_type in (pa.string(), pa.large_string(), pa.string_view()):
        column = pa.array(["x", *texts], arrow_type).slice(min(cut, len(texts)))
        if len(column):
            assert contents(chunker(column)) == contents(chunker(column.to_pylist()))
