"""Bad documents: which one, what is wrong with it. Odd but valid ones are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from longctx import Chunker, DocumentError, DocumentTypeError, LongctxError
from tokenizers_built import NAMES, built

SHORT: dict[str, Any] = {"max_tokens": 12, "overlap_tokens": 2}
NO_TEXT = (DocumentError, DocumentTypeError)


def chunker() -> Chunker:
    return Chunker(built("bert_like"), **SHORT)


WRONG_TYPES: dict[str, tuple[Any, list[str]]] = {
    "None": (None, ["None"]),
    "an int": (5, ["int"]),
    "a float": (2.5, ["float"]),
    "a dict": ({"text": "fox"}, ["dict"]),
    "a bool": (True, ["bool"]),
    "an object": (object(), ["object"]),
    "a class": (str, ["type"]),
    "None in a list": (["fox", None], ["1", "None"]),
    "an int in a list": (["fox", "dog", 7], ["2", "int"]),
    "nested lists": ([["fox"], ["dog"]], ["0", "list"]),
    "a tuple in a list": (["fox", ("a", "b")], ["1", "tuple"]),
    "a dict in a list": ([{"text": "fox"}], ["0", "dict"]),
    "a nan in a list": (["fox", float("nan")], ["1", "float"]),
    "a path in a list": ([Path("fox")], ["0", "Path"]),
    "an array of ints": (np.arange(3), ["0"]),
    "an Arrow array of ints": (pa.array([1, 2]), ["int64"]),
    "an Arrow array of lists": (pa.array([["fox"]]), ["list"]),
    "an Arrow table": (pa.table({"text": ["fox"]}), ["column"]),
    "a data frame": (pd.DataFrame({"text": ["fox"]}), ["column"]),
    "a polars frame": (pl.DataFrame({"text": ["fox"]}), ["column"]),
    "a column of ints": (pd.Series([1, 2]), ["int"]),
    "a bytearray": (bytearray(b"fox"), ["bytearray", "bytes"]),
    "a memoryview": (memoryview(b"fox"), ["memoryview", "bytes"]),
    "a bytearray in a list": (["fox", bytearray(b"fox")], ["1", "bytearray"]),
    "an array of no dimension": (np.array("fox"), ["ndarray"]),
    "a set": ({"fox"}, ["set", "order"]),
    "a categorical of ints": (pa.array([1, 2]).dictionary_encode(), ["int64"]),
}


@pytest.mark.parametrize("kind", sorted(WRONG_TYPES))
def test_what_is_not_text_is_a_document_type_error_that_says_what_it_is(kind: str) -> None:
    documents, words = WRONG_TYPES[kind]
    with pytest.raises(DocumentTypeError) as caught:
        chunker()(documents)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_a_null_in_a_column_is_an_error_that_names_the_row() -> None:
    columns = (
        pa.array(["fox", None]),
        pa.array(["fox", None], pa.large_string()),
        pa.array(["fox", None], pa.string_view()),
        pa.chunked_array([["fox"], [None]], pa.string()),
        pa.array(["x", "fox", None]).slice(1),
        pd.Series(["fox", None], dtype="str"),
        pd.Series(["fox", None], dtype=object),
        pl.Series(["fox", None]),
    )
    for column in columns:
        with pytest.raises(NO_TEXT, match=r"\b1\b"):
            chunker()(column)


@pytest.mark.parametrize("text", ["\ud800", "fox \udfff dog", "\ud83d alone", "\udc00\ud800"], ids=ascii)
def test_a_lone_surrogate_is_a_document_error_that_names_the_document(text: str) -> None:
    with pytest.raises(DocumentError, match="surrogate") as caught:
        chunker()(["fox", text])
    assert caught.value.document_index == 1
    with pytest.raises(DocumentError):
        chunker()(text)


def test_a_lone_surrogate_far_into_a_long_text_is_told_with_its_place() -> None:
    with pytest.raises(DocumentError, match="position 50000") as caught:
        chunker()(["fox", "é" * 50_000 + "\ud800" + "x" * 50_000])
    assert caught.value.document_index == 1


def test_a_lone_surrogate_in_a_text_that_others_began_to_read_is_told() -> None:
    both = Chunker(built("bert_like"), threads=2, **SHORT)
    with pytest.raises(DocumentError, match="position 6000000") as caught:
        both(["é fox " * 1_000_000 + "\ud800"])
    assert caught.value.document_index == 0
    assert len(both("é fox")) == 1


@pytest.mark.parametrize("raw", [b"\xff", b"fox \xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"], ids=repr)
def test_invalid_utf8_is_a_document_error_that_names_the_document(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="UTF-8") as caught:
        chunker()(["fox", "dog", raw])
    assert caught.value.document_index == 2


def test_the_first_bad_document_is_the_one_reported() -> None:
    for threads in (1, 4):
        with pytest.raises(DocumentError) as caught:
            Chunker(built("bert_like"), threads=threads, **SHORT)(["fox"] * 50 + [b"\xff", b"\xfe"])
        assert caught.value.document_index == 50


def test_a_closed_file_is_not_a_silent_empty_batch(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("fox\n")
    with path.open() as file:
        pass
    with pytest.raises((LongctxError, ValueError)):
        chunker()(file)


def test_an_error_of_a_generator_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield "fox"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        chunker()(broken())


def test_a_chunker_works_on_after_an_error() -> None:
    used = chunker()
    expected = used(["fox"]).input_ids.tolist()
    for bad in ([b"\xff"], [None], 5):
        with pytest.raises(LongctxError):
            used(bad)
    assert used(["fox"]).input_ids.tolist() == expected


ODD_BUT_VALID = {
    "NULs": "\x00" * 50,
    "blanks": " " * 5000,
    "line ends": "\r\n" * 2000,
    "combining marks": "\u0301" * 3000,
    "one very long word": "a" * 20_000,
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "private use": "\ue000\U000f0000",
    "bidi marks": "\u202e\u2066fox\u2069",
    "flags": "🇩🇪🇫🇷" * 500,
    "a family": "👩‍👩‍👧‍👦" * 300,
    "specials": "[MASK][SEP]</s><s><pad>" * 300,
    "byte order mark": "\ufefffox",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", sorted(ODD_BUT_VALID))
def test_odd_but_valid_text_is_read_to_its_end(kind: str, name: str) -> None:
    batch = Chunker(built(name), max_tokens=16, overlap_tokens=3)([ODD_BUT_VALID[kind], "fox"])
    assert batch.n_documents == 2
    assert all(coverage.complete for coverage in batch.coverage)
