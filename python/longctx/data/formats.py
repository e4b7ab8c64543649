"""One reader per file format. Each yields documents as it reads, and raises ReadError with the place of a problem."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from longctx.data.sources import Columns, Source, SourceDocument, check_column, decode_utf8, make_document
from longctx.errors import MissingDependencyError, ReadError

if TYPE_CHECKING:
    from types import ModuleType

_PARQUET_BATCH_ROWS = 256
_MAX_CSV_FIELD_CHARS = 2**31 - 1  # the largest that fits a C long on every platform


def read_text(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read a file that is one document, whatever the columns; it has no label."""
    if columns.label is not None:
        raise source.error(f"a text file has no column {columns.label!r}; give .jsonl, .jsonl.gz, .csv, .tsv or .parquet")
    with reading(source), source.open() as file:
        text = decode_utf8(file.read(), source)
    yield SourceDocument(source.name, text, source.name)


def read_jsonl(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read JSON Lines, one object a line. Blank lines separate records and hold none."""
    with reading(source), source.open() as file:
        yield from _documents_of_lines(file, source, columns)


def read_jsonl_gz(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read JSON Lines compressed with gzip."""
    with reading(source), source.open() as file, gzip.open(file, "rb") as lines:
        yield from _documents_of_lines(lines, source, columns)


def read_csv(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read CSV with a header; quoted fields may hold line ends."""
    yield from _read_delimited(source, columns, ",")


def read_tsv(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read CSV with tabs between the fields."""
    yield from _read_delimited(source, columns, "\t")


def read_parquet(source: Source, columns: Columns) -> Iterator[SourceDocument]:
    """Read Parquet in batches of rows; only the columns asked for are decoded."""
    if source.path is None:
        raise source.error("Parquet cannot be read from a pipe; save it to a file and give its path")
    pa, parquet = _import_pyarrow()
    with reading(source), _arrow_errors(pa, source), parquet.ParquetFile(source.path) as file:
        _check_parquet_columns(pa, file.schema_arrow, source, columns)
        row = 0
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=columns.names):
            texts = batch.column(columns.text)
            ids = None if columns.id is None else batch.column(columns.id)
            labels = None if columns.label is None else batch.column(columns.label)
            for i in range(batch.num_rows):
                identity = None if ids is None else _required_id(ids[i].as_py(), source, row=row)
                label = None if labels is None else labels[i].as_py()
                yield make_document(texts[i].as_py(), identity, source, row=row, label=label)
                row += 1


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Turn the system's errors about a file into a ReadError that names it."""
    try:
        yield
    except ReadError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise source.error(f"the gzip data is damaged or cut short ({error})") from error
    except OSError as error:
        raise source.error(f"cannot be read ({error.strerror or error})") from error


def _lines(file: Iterable[bytes], source: Source) -> Iterator[tuple[int, str]]:
    """Give line numbers from 1 and decoded lines, line end included."""
    first_byte = 0
    for number, line in enumerate(file, start=1):
        yield number, decode_utf8(line, source, first_byte=first_byte, line=number)
        first_byte += len(line)


def _documents_of_lines(file: Iterable[bytes], source: Source, columns: Columns) -> Iterator[SourceDocument]:
    row = 0
    for line, text in _lines(file, source):
        if not text.strip():
            continue
        record = _parse_object(text, source, line=line)
        for name in columns.names:
            check_column(name, record, source, line=line)
        identity = None if columns.id is None else _required_id(record[columns.id], source, line=line)
        label = None if columns.label is None else record[columns.label]
        document = make_document(record[columns.text], identity, source, row=row, line=line, label=label)
        if "\\u" in text:
            _check_surrogates(document, source, line=line)
        yield document
        row += 1


def _parse_object(text: str, source: Source, *, line: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise source.error(f"not valid JSON ({error.msg}, column {error.colno})", line=line) from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets 100,000 deep
        raise source.error(f"not readable JSON ({error})", line=line) from error
    if not isinstance(value, dict):
        problem = f'a JSON {type(value).__name__} where an object is needed, like {{"text": "..."}}'
        raise source.error(problem, line=line)
    return value


def _check_surrogates(document: SourceDocument, source: Source, *, line: int) -> None:
    """JSON may escape half of a surrogate pair, which is no character and cannot be written as UTF-8."""
    labels = document.label if isinstance(document.label, list) else [document.label]
    for value in (document.text, document.id, *(label for label in labels if isinstance(label, str))):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            problem = f"character {error.start} is a lone surrogate (\\u{ord(value[error.start]):04x}), not text"
            raise source.error(problem, line=line) from error


def _read_delimited(source: Source, columns: Columns, delimiter: str) -> Iterator[SourceDocument]:
    # A document is one field, and csv stops at 128 KiB a field. The limit is the process's: raised, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CSV_FIELD_CHARS))
    with reading(source), source.open() as file:
        lines = (line for _, line in _lines(file, source))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        records = _csv_records(reader, source)
        header = next(records, None)
        if header is None:
            raise source.error("empty; a header line with the column names is needed")
        for name in columns.names:
            check_column(name, header, source)
        yield from _documents_of_records(records, header, reader, source, columns)


def _csv_records(reader: Any, source: Source) -> Iterator[list[str]]:
    """Give the records that are not blank lines; errors carry the line on which a record ends."""
    try:
        yield from (record for record in reader if record)
    except csv.Error as error:
        raise source.error(f"not valid CSV ({error})", line=reader.line_num) from error


def _documents_of_records(
    records: Iterator[list[str]], header: list[str], reader: Any, source: Source, columns: Columns
) -> Iterator[SourceDocument]:
    text_at = header.index(columns.text)
    id_at = None if columns.id is None else header.index(columns.id)
    label_at = None if columns.label is None else header.index(columns.label)
    for row, record in enumerate(records):
        if len(record) != len(header):
            problem = f"{len(record)} fields where the header has {len(header)}"
            raise source.error(problem, line=reader.line_num)
        identity = None if id_at is None else record[id_at]
        label = None if label_at is None else record[label_at]
        yield make_document(record[text_at], identity, source, row=row, label=label)


def _required_id(value: object, source: Source, *, line: int | None = None, row: int | None = None) -> object:
    if value is None:
        raise source.error("the id is missing (null)", line=line, row=row)
    return value


def _import_pyarrow() -> tuple[ModuleType, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow; install it with: pip install pyarrow") from error
    return pa, parquet


@contextmanager
def _arrow_errors(pa: Any, source: Source) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise source.error("a string in the column is not valid UTF-8") from error
    except pa.ArrowException as error:
        raise source.error(f"not readable as Parquet ({str(error).splitlines()[0]})") from error


def _check_parquet_columns(pa: Any, schema: Any, source: Source, columns: Columns) -> None:
    for name in columns.names:
        check_column(name, schema.names, source)
    kind = schema.field(columns.text).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
        raise source.error(f"column {columns.text!r} holds {kind}, not strings")
