"""What a read document is, where it came from, and how documents are handed on in bounded groups."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from longctx.errors import ReadError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_NAME_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One document as it was read.

    Attributes:
        id: the value of the id column, else the file's path, with ``#row`` for a document out of a table.
        text: the document, with the line ends it had.
        source: path of the file it came from; ``-`` for standard input.
        row: number of its record in the file, from 0; None where the file is the document.
        label: value of the label column as the file has it; None where none was asked for.
    """

    id: str
    text: str
    source: str
    row: int | None = None
    label: Any = None


@dataclass(frozen=True, slots=True)
class Source:
    """Something that can be opened. ``path`` is None for standard input."""

    name: str
    path: Path | None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open for reading bytes. Standard input stays open afterwards."""
        if self.path is None:
            if sys.stdin is None:
                raise self.error("standard input is closed; pipe text in, or give files")
            yield sys.stdin.buffer
            return
        with self.path.open("rb") as file:
            yield file

    def error(self, problem: str, *, line: int | None = None, row: int | None = None) -> ReadError:
        """Make the error for a problem in this source: ``'docs.jsonl', line 3: <problem>``."""
        place = "" if line is None else f", line {line}"
        place += "" if row is None else f", row {row}"
        return ReadError(f"{shown(self.name)}{place}: {problem}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that hold the text and, unless None, the id and the label."""

    text: str
    id: str | None
    label: str | None = None

    @property
    def names(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys(name for name in (self.text, self.id, self.label) if name is not None))


def shown(name: str) -> str:
    """Write a name as errors show it: quoted, control characters escaped, cut when very long."""
    return repr(name if len(name) <= _LONGEST_NAME_SHOWN_CHARS else name[:_LONGEST_NAME_SHOWN_CHARS] + "...")


def file_name(path: Path) -> str:
    """Give a path as text that can always be written as UTF-8, also where the file system holds other bytes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def decode_utf8(data: bytes, source: Source, *, first_byte: int = 0, line: int | None = None) -> str:
    """Decode, or raise ReadError with the offset of the wrong byte in the file. A byte order mark is left out."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {first_byte + error.start} ({data[error.start]:#04x}) is not valid UTF-8; save the file as UTF-8"
        raise source.error(problem, line=line) from error
    return text.removeprefix("\ufeff") if first_byte == 0 else text


def check_column(name: str, available: Iterable[str], source: Source, *, line: int | None = None) -> None:
    """Raise ReadError, with the names there are, unless the column exists exactly once."""
    names = list(available)
    if names.count(name) == 1:
        return
    problem = f"{names.count(name)} columns are called {name!r}" if name in names else f"no column {name!r}"
    known = ", ".join(shown(str(column)) for column in names[:50]) or "none"
    raise source.error(f"{problem}; available columns: {known}", line=line)


def make_document(
    text: object, identity: object, source: Source, *, row: int, line: int | None = None, label: object = None
) -> SourceDocument:
    """Make a document out of a table. ``identity`` is None where no id column was asked for."""
    if not isinstance(text, str):
        raise source.error(f"the text is {_kind(text)}, not a string", line=line, row=None if line else row)
    if identity is None:
        return SourceDocument(f"{source.name}#{row}", text, source.name, row, label)
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        problem = f"the id is {_kind(identity)}; it must be a string or a whole number"
        raise source.error(problem, line=line, row=None if line else row)
    return SourceDocument(str(identity), text, source.name, row, label)


def grouped(documents: Iterable[SourceDocument], *, max_documents: int = 256, max_chars: int = 4_000_000) -> Iterator[list[SourceDocument]]:
    """Hand documents on in groups, so that memory is bounded by a group and not by the corpus.

    A group ends after ``max_documents`` documents or once it holds ``max_chars`` characters. Order is kept.
    """
    group: list[SourceDocument] = []
    n_chars = 0
    for document in documents:
        group.append(document)
        n_chars += len(document.text)
        if len(group) >= max_documents or n_chars >= max_chars:
            yield group
            group, n_chars = [], 0
    if group:
        yield group


def _kind(value: object) -> str:
    return "missing (null)" if value is None else f"a {type(value).__name__}"
