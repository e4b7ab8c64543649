"""Writes results as JSON Lines or Parquet. A file appears whole under its name, or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from longctx.data.sources import file_name, shown
from longctx.errors import ConfigError, LongctxError, MissingDependencyError

if TYPE_CHECKING:
    import pyarrow as pa


_ROW_GROUP_ROWS = 1024  # small row groups make Parquet files large and slow to read


class WriteError(LongctxError, OSError):
    """Results cannot be written."""


class ResultGroup(Protocol):
    """Results of some documents, as records and as a table; all groups of one run have the same columns."""

    def records(self) -> Iterable[Mapping[str, Any]]:
        """Plain values that ``json.dumps`` takes, one mapping a result."""

    def table(self) -> pa.Table:
        """Give the same as Arrow columns."""


class ResultWriter(Protocol):
    """Takes results in groups."""

    def write(self, group: ResultGroup) -> None:
        """Write one group; raises WriteError."""


class JsonlWriter:
    """One JSON object a line, UTF-8, to any binary file. ``name`` is what errors call it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def write(self, group: ResultGroup) -> None:
        """Write and flush one group; raises WriteError, also for numbers that JSON does not have (NaN, infinity)."""
        for record in group.records():
            line = self._line(record)
            with _writing(self._name):
                self._file.write(line)
        with _writing(self._name):
            self._file.flush()

    def _line(self, record: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        except ValueError as error:
            raise WriteError(f"{self._name}: the result of {record.get('id')!r} is not valid JSON ({error})") from error


class ParquetWriter:
    """Row groups of many results, whatever the groups they come in; the first gives the schema."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def write(self, group: ResultGroup) -> None:
        """Take one group; raises WriteError."""
        self._waiting.append(group.table())
        if sum(table.num_rows for table in self._waiting) >= _ROW_GROUP_ROWS:
            self._write_waiting()

    def _write_waiting(self) -> None:
        import pyarrow as pa

        parquet = _import_parquet()
        table = pa.concat_tables(self._waiting)
        self._waiting.clear()
        with _writing(self._name):
            if self._writer is None:
                self._writer = parquet.ParquetWriter(self._file, table.schema, compression="zstd")
            self._writer.write_table(table)

    def close(self) -> None:
        """Write what waits and the footer, without which a Parquet file cannot be read."""
        if self._waiting:
            self._write_waiting()
        with _writing(self._name):
            if self._writer is not None:
                self._writer.close()


@contextmanager
def open_writer(path: str | os.PathLike[str] | None) -> Iterator[ResultWriter]:
    """Open ``path`` for results: ``.jsonl`` or ``.parquet``; None is JSON Lines on standard output.

    A file is written beside its final name and renamed when the block ends; an error or Ctrl-C leaves what was there.

    Raises:
        ConfigError: another ending.
        WriteError: the folder is missing or not writable, the disk is full, a value does not fit, standard output is closed.
    """
    if path is None:
        if sys.stdout is None:
            raise WriteError("standard output is closed; name a file for the results")
        yield JsonlWriter(sys.stdout.buffer, "standard output")
        with _writing("standard output"):
            sys.stdout.flush()  # here, not at exit, where a full disk would have no message
        return
    target = check_output(path)
    with atomic_file(target) as file:
        if target.suffix.lower() == ".jsonl":
            yield JsonlWriter(file, shown(file_name(target)))
            return
        writer = ParquetWriter(file, shown(file_name(target)))
        try:
            yield writer
        finally:  # also after an error: a Parquet writer that is merely dropped writes into a closed file
            writer.close()


def check_output(path: str | os.PathLike[str], *, endings: tuple[str, ...] = (".jsonl", ".parquet")) -> Path:
    """Resolve the path of a result file; raises, before any work is done, when it cannot be written.

    Raises:
        ConfigError: another ending.
        WriteError: a folder has this name, or the folder it lies in does not exist.
    """
    # A link is followed, so that renaming replaces the file it points to and not the link.
    target = Path(path).resolve()
    name = shown(file_name(Path(path)))
    if target.suffix.lower() not in endings:
        raise ConfigError(f"{name}: the name of this result must end in {' or '.join(endings)}")
    if target.suffix.lower() == ".parquet":
        _import_parquet()
    if target.is_dir():
        raise WriteError(f"{name}: is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise WriteError(f"{name}: the folder {shown(file_name(target.parent))} does not exist; create it first")
    return target


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the name ``target`` when the block ends without an error, and vanishes otherwise."""
    name = shown(file_name(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with _writing(name):
        file = temporary.open("wb")
    try:
        with file:
            yield file
            with _writing(name):
                file.flush()
        with _writing(name):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Turn the system's errors into a WriteError; a reader that went away (``| head``) is not one."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WriteError(f"{name}: cannot be written ({error.strerror or error})") from error


def _import_parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow; install it with: pip install pyarrow") from error
    return parquet
