"""Reads documents from files, folders, tables and standard input, one at a time; nothing is skipped in silence."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from longctx.data import formats
from longctx.data.sources import Columns, Source, SourceDocument, file_name, shown
from longctx.errors import ConfigError, ReadError

STANDARD_INPUT = "-"
_log = logging.getLogger(__name__)
_Reader = Callable[[Source, Columns], Iterator[SourceDocument]]


class InputFormat(StrEnum):
    """How a file is read. ``auto`` goes by its name; what has no known ending is one text document."""

    AUTO = "auto"
    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_READER_BY_SUFFIX: dict[str, _Reader] = {
    ".jsonl": formats.read_jsonl,
    ".ndjson": formats.read_jsonl,
    ".jsonl.gz": formats.read_jsonl_gz,
    ".ndjson.gz": formats.read_jsonl_gz,
    ".csv": formats.read_csv,
    ".tsv": formats.read_tsv,
    ".parquet": formats.read_parquet,
    ".pq": formats.read_parquet,
}
_READER_BY_FORMAT: dict[InputFormat, _Reader] = {
    InputFormat.TEXT: formats.read_text,
    InputFormat.JSONL: formats.read_jsonl,
    InputFormat.CSV: formats.read_csv,
    InputFormat.PARQUET: formats.read_parquet,
}
_ADVICE_BY_SUFFIX = {
    ".json": "give JSON Lines (.jsonl), one object a line, or say that it is one text document with the format 'text'",
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"), "decompress it first (only .jsonl.gz is read)"),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub"), "convert it to plain text first"),
}


def read_documents(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    text: str = "text",
    id: str | None = None,
    label: str | None = None,
    format: InputFormat | str = InputFormat.AUTO,
) -> Iterator[SourceDocument]:
    """Read documents in the order of the inputs.

    An input is a file, a folder (read recursively, sorted by name, hidden entries left out with a warning), or ``-``
    for standard input. JSONL (also ``.jsonl.gz``), CSV, TSV and Parquet hold one document a record; any other file is
    one UTF-8 document. Files are opened one after another and read as documents are taken.

    Args:
        inputs: one path or several.
        text: the column that holds the documents, in files with columns.
        id: the column that holds their ids; None = path and row number.
        label: the column that holds their labels, given on as they are; None = there are none. A text file cannot have any.
        format: how to read every file; "auto" goes by each file's name, and reads standard input as text.

    Raises:
        ConfigError: a format that does not exist, no input, or standard input twice.
        ReadError: a path that does not exist (at once, before anything is read), or later a file that cannot be
            read: broken JSON, a missing column, bytes that are not UTF-8, an empty folder. The message has the place.

    >>> [d.text for d in read_documents("reviews.jsonl", text="review", id="review_id")]  # doctest: +SKIP
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    names = [os.fspath(path) for path in paths]
    _check_names(names)
    for name in names:
        if name != STANDARD_INPUT:
            _mode_of(Path(name))
    return _read_all(names, Columns(text, id, label), _known_format(format))


def _read_all(names: Sequence[str], columns: Columns, format: InputFormat) -> Iterator[SourceDocument]:
    for name in names:
        for source in _sources(name):
            yield from _reader_of(source, format)(source, columns)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ConfigError("no input; give files, folders, or '-' for standard input")
    if not all(names):  # an empty shell variable; Path would take it for the current folder
        raise ConfigError("an input has an empty name; give files, folders, or '-' for standard input")
    if names.count(STANDARD_INPUT) > 1:
        raise ConfigError("'-' is given twice, but standard input can be read only once")


def _known_format(format: InputFormat | str) -> InputFormat:
    try:
        return InputFormat(format)
    except ValueError:
        allowed = ", ".join(repr(kind.value) for kind in InputFormat)
        raise ConfigError(f"format={format!r} does not exist; use one of {allowed}") from None


def _reader_of(source: Source, format: InputFormat) -> _Reader:
    suffixes = [] if source.path is None else [suffix.lower() for suffix in source.path.suffixes]
    by_name = _READER_BY_SUFFIX.get("".join(suffixes[-2:])) or _READER_BY_SUFFIX.get("".join(suffixes[-1:]))
    if format is InputFormat.JSONL and by_name is formats.read_jsonl_gz:
        return by_name
    if format is not InputFormat.AUTO:
        return _READER_BY_FORMAT[format]
    advice = _ADVICE_BY_SUFFIX.get(suffixes[-1]) if suffixes and by_name is None else None
    if advice is not None:
        raise source.error(f"{suffixes[-1]} files are not read; {advice}")
    return by_name or formats.read_text


def _sources(name: str) -> Iterator[Source]:
    if name == STANDARD_INPUT:
        yield Source(STANDARD_INPUT, None)
    elif stat.S_ISDIR(_mode_of(Path(name))):
        yield from _files_of(Path(name), above=frozenset())
    else:
        yield Source(file_name(Path(name)), Path(name))


def _files_of(folder: Path, *, above: frozenset[tuple[int, int]]) -> Iterator[Source]:
    """Find the files under a folder. ``above`` holds device and inode of the folders that lead here, to stop link loops."""
    identity = _identity_of(folder)
    if identity in above:
        raise ReadError(f"{shown(file_name(folder))}: a link that leads back to a folder above it; remove the link")
    found = False
    for entry in _visible_entries(folder):
        for source in _sources_of_entry(entry, above | {identity}):
            found = True
            yield source
    if not found and not above:
        raise ReadError(f"{shown(file_name(folder))}: the folder holds no files to read")


def _sources_of_entry(entry: Path, above: frozenset[tuple[int, int]]) -> Iterator[Source]:
    mode = _mode_of(entry)
    if stat.S_ISDIR(mode):
        yield from _files_of(entry, above=above)
    elif stat.S_ISREG(mode):
        yield Source(file_name(entry), entry)
    else:  # opening a pipe or device that merely lies in a folder could wait for ever
        raise ReadError(f"{shown(file_name(entry))}: not a file or folder; take it out of the folder or give it by name")


def _visible_entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ReadError(f"{shown(file_name(folder))}: the folder cannot be read ({error.strerror})") from error
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    if len(visible) < len(entries):
        _log.warning("%s: left out %d hidden entries", shown(file_name(folder)), len(entries) - len(visible))
    return visible


def _identity_of(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        problem = "no such file or folder; give a path, or '-' for standard input"
        raise ReadError(f"{shown(file_name(path))}: {problem}") from None
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a NUL in the name
        raise ReadError(f"{shown(file_name(path))}: cannot be read ({error})") from error
