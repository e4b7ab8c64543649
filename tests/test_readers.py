"""Readers: every document arrives, and every problem is named with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longctx.data import SourceDocument, grouped, read_documents
from longctx.errors import ConfigError, ReadError

HARD_TEXTS = [
    "",
    " ",
    "one",
    "zwei\nZeilen\r\n",
    'a "quoted", field',
    "\u6587\u66f8 \U0001f600 e\u0301",
    "\x00\x1b[31m",
    "\u2028",
]


def texts(*inputs: str | Path, **options: Any) -> list[str]:
    return [document.text for document in read_documents(inputs, **options)]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_text_file_is_one_document_with_its_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes("\ufeffone\r\ntwo\n\u00e9".encode())
    assert list(read_documents(path)) == [SourceDocument(str(path), "one\r\ntwo\n\u00e9", str(path), None)]


def test_a_file_of_any_other_ending_is_text_and_an_empty_one_is_an_empty_document(tmp_path: Path) -> None:
    for name in ("LICENSE", "notes.log", "v1.2"):
        (tmp_path / name).write_text(name)
    (tmp_path / "empty.txt").touch()
    assert texts(tmp_path) == ["LICENSE", "", "notes.log", "v1.2"]


def test_folders_are_read_recursively_and_sorted_whatever_the_formats(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "x.txt").write_text("2")
    (tmp_path / "c.txt").write_text("3")
    write_jsonl(tmp_path / "a.jsonl", [{"text": "0"}, {"text": "1"}])
    assert texts(tmp_path) == ["0", "1", "2", "3"]


def test_hidden_entries_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"\xff")
    (tmp_path / "a.txt").write_text("a")
    assert texts(tmp_path) == ["a"]
    assert "2 hidden entries" in caplog.text


def write_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["id", "text"], *([f"d{n}", text] for n, text in enumerate(HARD_TEXTS))])


def records() -> list[dict[str, Any]]:
    return [{"id": f"d{n}", "text": text} for n, text in enumerate(HARD_TEXTS)]


TABLES: Mapping[str, Callable[[Path], object]] = {
    "t.jsonl": lambda path: write_jsonl(path, records()),
    "t.ndjson": lambda path: write_jsonl(path, records()),
    "T.JSONL.GZ": lambda path: path.write_bytes(gzip.compress(write_jsonl(path, records()).read_bytes())),
    "t.csv": write_csv,
    "t.tsv": lambda path: write_csv(path, "\t"),
    "t.parquet": lambda path: pq.write_table(pa.Table.from_pylist(records()), path, row_group_size=3),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    TABLES[name](path)
    expected = [SourceDocument(f"d{n}", text, str(path), n) for n, text in enumerate(HARD_TEXTS)]
    assert list(read_documents(path, id="id")) == expected
    assert [document.id for document in read_documents(path)] == [f"{path}#{n}" for n in range(len(HARD_TEXTS))]


@pytest.mark.parametrize("name", TABLES)
def test_the_text_column_may_be_the_id_column(tmp_path: Path, name: str) -> None:
    TABLES[name](tmp_path / name)
    assert [document.id for document in read_documents(tmp_path / name, id="text")] == HARD_TEXTS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_survives_csv_and_jsonl(tmp_path: Path, documents: list[str]) -> None:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in documents)])
    write_jsonl(tmp_path / "t.jsonl", [{"text": text} for text in documents])
    assert texts(tmp_path / "t.csv") == documents
    assert texts(tmp_path / "t.jsonl") == documents


def test_a_csv_field_may_be_longer_than_128_kib(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\n" + "word " * 100_000 + "\n")
    assert len(texts(tmp_path / "t.csv")[0]) == 500_000


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_strings_of_every_kind_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).cast(kind)}), path)
    assert texts(path) == ["a", "b", "a"]


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [{"text": "a", "id": 7}])
    assert next(read_documents(path, id="id")).id == "7"


def test_blank_lines_in_jsonl_hold_no_record(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('\n{"text": "a"}\r\n  \n{"text": "b"}')
    assert [(d.text, d.row) for d in read_documents(tmp_path / "t.jsonl")] == [("a", 0), ("b", 1)]


def test_tables_without_records_hold_no_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.csv").write_text("text\n")
    assert texts(tmp_path) == []


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(monkeypatch, "\u00e9\n".encode())
    assert list(read_documents("-")) == [SourceDocument("-", "\u00e9\n", "-", None)]
    stdin_of(monkeypatch, b'{"text": "a"}\n')
    assert list(read_documents("-", format="jsonl")) == [SourceDocument("-#0", "a", "-", 0)]


def test_the_format_can_be_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "records.json", [{"text": "a"}])
    assert texts(path, format="jsonl") == ["a"]
    assert texts(path, format="text") == ['{"text": "a"}\n']


def test_a_told_jsonl_format_still_unpacks_gzip(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}'))
    assert texts(tmp_path / "t.jsonl.gz", format="jsonl") == ["a"]


def test_documents_are_read_as_they_are_taken(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\nbroken\n')
    documents = read_documents(tmp_path / "t.jsonl")
    assert next(documents).text == "a"
    with pytest.raises(ReadError, match="line 2"):
        next(documents)


def test_file_names_that_are_not_utf8_give_ids_that_are(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("a")
    except OSError:
        pytest.skip("this file system only takes names in UTF-8")
    (document,) = read_documents(tmp_path)
    assert document.id.encode("utf-8").endswith(b".txt")
    assert document.text == "a"


BAD_FILES: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("latin1.txt", "caf\u00e9".encode("latin-1"), {}, r"latin1\.txt': byte 3 \(0xe9\) is not valid UTF-8"),
    ("bom.txt", b"\xef\xbb\xbfab\xff", {}, r"byte 5 \(0xff\)"),
    ("utf16.txt", "text".encode("utf-16"), {}, r"byte 0 \(0x"),
    ("t.jsonl", b'{"text": "a"}\n{"text": "b"\n', {}, r"t\.jsonl', line 2: not valid JSON \(Expecting"),
    ("t.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', {}, r"line 2: byte 24 \(0xff\) is not valid UTF-8"),
    ("t.jsonl", b'["a"]\n', {}, "line 1: a JSON list where an object is needed"),
    ("t.jsonl", b"[" * 200_000, {}, "line 1: not"),
    ("t.jsonl", b'{"n": ' + b"9" * 5000 + b"}", {}, "line 1: not readable JSON"),
    ("t.jsonl", b'{"text": null}\n', {}, r"line 1: the text is missing \(null\)"),
    ("t.jsonl", b'{"text": 3}\n', {}, "line 1: the text is a int, not a string"),
    ("t.jsonl", b'{"text": "a \\ud83d"}\n', {}, r"line 1: character 2 is a lone surrogate \(\\ud83d\)"),
    ("t.jsonl", b'{"body": "a", "n": 1}\n', {}, "line 1: no column 'text'; available columns: 'body', 'n'"),
    ("t.jsonl", b'{"text": "a"}\n', {"id": "key"}, "no column 'key'; available columns: 'text'"),
    ("t.jsonl", b'{"text": "a", "id": null}\n', {"id": "id"}, "the id is missing"),
    ("t.jsonl", b'{"text": "a", "id": [1]}\n', {"id": "id"}, "the id is a list"),
    ("t.jsonl", b'{"text": "a", "id": true}\n', {"id": "id"}, "the id is a bool"),
    ("t.jsonl.gz", b"not gzip", {}, "gzip data is damaged"),
    ("t.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], {}, "gzip data is damaged or cut short"),
    ("t.csv", b"", {}, "empty; a header line"),
    ("t.csv", b"id;text\n1;a\n", {}, "no column 'text'; available columns: 'id;text'"),
    ("t.csv", b"text,text\na,b\n", {}, "2 columns are called 'text'"),
    ("t.csv", b"id,text\n1,a\n2\n", {}, "line 3: 1 fields where the header has 2"),
    ("t.csv", b'text\n"open\n', {}, "not valid CSV"),
    ("t.csv", b'text\n"a"b\n', {}, "line 2: not valid CSV"),
    ("t.csv", b"text\na\n\xe9\n", {}, r"line 3: byte 7 \(0xe9\)"),
    ("t.parquet", b"PAR1 but not really", {}, "not readable as Parquet"),
    ("t.parquet", b"", {}, "not readable as Parquet"),
    ("t.json", b"[]", {}, r"\.json files are not read; give JSON Lines"),
    ("t.pdf", b"%PDF-1.4", {}, r"\.pdf files are not read; convert"),
    ("t.csv.gz", b"", {}, r"\.gz files are not read; decompress"),
]


@pytest.mark.parametrize(("name", "data", "options", "message"), BAD_FILES)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, name: str, data: bytes, options: dict[str, Any], message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ReadError, match=message) as caught:
        texts(tmp_path / name, **options)
    assert str(tmp_path / name) in str(caught.value)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"body": ["a"], "n": [1]}, {}, "no column 'text'; available columns: 'body', 'n'"),
        ({"text": [1]}, {}, "column 'text' holds int64, not strings"),
        ({"text": [["a"]]}, {}, "column 'text' holds list"),
        ({"text": ["a", None]}, {}, r"row 1: the text is missing \(null\)"),
        ({"text": ["a"], "id": [None]}, {"id": "id"}, "row 0: the id is missing"),
    ],
)
def test_a_bad_parquet_column_is_named(tmp_path: Path, table: dict[str, Any], options: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(ReadError, match=message):
        texts(tmp_path / "t.parquet", **options)


def test_parquet_strings_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\x00\x00\x00\x00\x01\x00\x00\x00"), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"text": bad}), tmp_path / "t.parquet")
    with pytest.raises(ReadError, match="not valid UTF-8"):
        texts(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.txt", "no such file or folder"), ("x" * 5000, "cannot be read"), ("nul\0name", "cannot be read")],
)
def test_a_path_that_cannot_exist_is_refused_before_anything_is_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ReadError, match=message) as caught:
        read_documents([tmp_path / "a.txt", tmp_path / name])
    assert len(str(caught.value)) < 6000
    assert "\0" not in str(caught.value)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").touch()
    with pytest.raises(ReadError, match="holds no files"):
        texts(tmp_path)


def test_a_link_to_nowhere_in_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(ReadError, match=r"a\.txt': no such file"):
        texts(tmp_path)


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    with pytest.raises(ReadError, match="leads back"):
        texts(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_folder_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReadError, match="not a file or folder"):
        texts(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_unreadable_files_and_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    secret = tmp_path / "sub" / "a.txt"
    secret.write_text("a")
    secret.chmod(0)
    with pytest.raises(ReadError, match="Permission denied"):
        texts(secret)
    (tmp_path / "sub").chmod(0)
    try:
        with pytest.raises(ReadError, match="the folder cannot be read"):
            texts(tmp_path)
    finally:
        (tmp_path / "sub").chmod(0o700)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "no input"),
        (["-", "-"], {}, "given twice"),
        (["-"], {"format": "xml"}, "format='xml' does not exist; use one of 'auto', 'text'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(inputs: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_documents(inputs, **options)


def test_parquet_from_standard_input_is_refused() -> None:
    with pytest.raises(ReadError, match="cannot be read from a pipe"):
        texts("-", format="parquet")


def test_groups_are_bounded_and_keep_the_order() -> None:
    documents = [SourceDocument(str(n), "x" * n, "-") for n in range(20)]
    groups = list(grouped(documents, max_documents=6, max_chars=40))
    assert [document for group in groups for document in group] == documents
    assert all(len(group) <= 6 for group in groups)
    assert all(sum(len(document.text) for document in group[:-1]) < 40 for group in groups)
    assert list(grouped([])) == []
