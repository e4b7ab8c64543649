"""Whatever holds texts, as runs that the core can borrow: lists of ``str`` and ``bytes``, or buffers of Arrow arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np

from longctx.errors import DocumentError, DocumentTypeError

_ALLOWED = "give a str, bytes of UTF-8, a sequence of them, or an Arrow, pandas or polars column of strings."


def as_runs(documents: Any, first_document: int = 0) -> list[Any]:
    """Turn one call's documents into runs for ``_core.Chunker.plan``, without copying text that is UTF-8 already.

    Errors count documents from ``first_document``.

    Raises:
        DocumentTypeError: what was given holds no documents.
        DocumentError: an Arrow value is null.
    """
    if isinstance(documents, str | bytes):
        return [[documents]]
    if _is_arrow(documents):
        return _arrow_runs(documents, first_document)
    return [[_plain(document) for document in _iterable(documents)]]


def groups(documents: Any, *, max_documents: int, max_chars: int) -> Iterator[Any]:
    """Split documents into groups that are chunked together, each of at least one document and not much over ``max_chars``."""
    if isinstance(documents, str | bytes):
        yield [documents]
    elif _is_arrow(documents):
        yield from _groups_of_column(_arrow_array(documents), max_documents, max_chars)
    else:
        yield from _groups_of_objects(iter(_iterable(documents)), max_documents, max_chars)


def _groups_of_column(column: Any, max_documents: int, max_bytes: int) -> Iterator[Any]:
    """Give slices of the column, which share its memory. Bytes stand for characters: they are known without reading the text."""
    for start in range(0, len(column), max_documents):
        block = column.slice(start, max_documents)
        ends = np.cumsum(np.concatenate([_byte_lengths(chunk) for chunk in block.chunks]), dtype=np.int64)
        first = 0
        while first < len(block):
            before = ends[first - 1] if first else 0
            stop = max(first + 1, int(np.searchsorted(ends, before + max_bytes, side="right")))
            yield block.slice(first, stop - first)
            first = stop


def _groups_of_objects(documents: Iterator[Any], max_documents: int, max_chars: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    n_chars = 0
    for document in documents:
        group.append(document)
        n_chars += len(document) if isinstance(document, str | bytes) else 0
        if len(group) == max_documents or n_chars >= max_chars:
            yield group
            group, n_chars = [], 0
    if group:
        yield group


def _iterable(documents: Any) -> Iterable[Any]:
    if isinstance(documents, io.IOBase):
        raise DocumentTypeError(f"a file ({documents!r}) is not text; read it first: file.read() is one document, list(file) one a line.")
    if isinstance(documents, Mapping | Set):
        raise DocumentTypeError(f"{type(documents).__name__} has no order of documents; {_ALLOWED}")
    if isinstance(documents, bytearray | memoryview):
        raise DocumentTypeError(f"{type(documents).__name__} may change while it is read; give bytes(...) of it.")
    if not isinstance(documents, Iterable) or getattr(documents, "ndim", 1) == 0:  # a NumPy array of no dimension only looks iterable
        raise DocumentTypeError(f"{type(documents).__name__} is not text; {_ALLOWED}")
    return documents


def is_utf8(text: str) -> bool:
    """Tell whether UTF-8 can hold a text: half of a surrogate pair is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(document: Any) -> Any:
    """Turn an Arrow scalar into text; leave all else to the core, which names what it cannot read."""
    as_py = getattr(document, "as_py", None)
    return as_py() if as_py is not None else document


def _is_arrow(documents: Any) -> bool:
    return hasattr(documents, "__arrow_c_stream__") or hasattr(documents, "__arrow_c_array__")


def _arrow_array(documents: Any) -> Any:
    import pyarrow as pa

    try:
        array = pa.chunked_array(documents)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DocumentTypeError(f"this {type(documents).__name__} is no column of strings ({error}); {_ALLOWED}") from error
    if pa.types.is_dictionary(array.type):
        kind = array.type.value_type
        # Views, which polars makes, can neither be cast from a dictionary nor taken by index.
        kind = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
        array = pa.chunked_array([chunk.dictionary.cast(kind).take(chunk.indices) for chunk in array.chunks], kind)
    return array


def _arrow_runs(documents: Any, first_document: int) -> list[Any]:
    runs = []
    n_before = first_document
    for chunk in _arrow_array(documents).chunks:
        if chunk.null_count:
            row = n_before + int(np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0])
            raise DocumentError(f"document {row}: it is null; drop nulls first, or fill them with an empty string.", row)
        if len(chunk):
            runs.append(_arrow_run(chunk))
        n_before += len(chunk)
    return runs


def _arrow_run(chunk: Any) -> tuple[Any, Any]:
    import pyarrow as pa

    kind, start, stop = chunk.type, chunk.offset, chunk.offset + len(chunk)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        dtype: type[np.integer[Any]] = np.int32
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        dtype = np.int64
    elif pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        _, views, *buffers = chunk.buffers()
        return _bytes(views)[start * 16 : stop * 16], [_bytes(buffer) for buffer in buffers]
    else:
        raise DocumentTypeError(f"an Arrow array of {kind} holds no strings; {_ALLOWED}")
    _, offsets, data = chunk.buffers()
    return np.frombuffer(offsets, dtype=dtype)[start : stop + 1], _bytes(data)


def _byte_lengths(chunk: Any) -> np.ndarray[Any, np.dtype[np.integer[Any]]]:
    if chunk.null_count == len(chunk):  # nothing to measure; what is null is named when it is read
        return np.zeros(len(chunk), dtype=np.int64)
    first, _ = _arrow_run(chunk)
    # Offsets, or views of 16 bytes that begin with the length.
    lengths: np.ndarray[Any, np.dtype[np.integer[Any]]] = first.view(np.int32)[::4] if first.dtype == np.uint8 else np.diff(first)
    return lengths


def _bytes(buffer: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(buffer, dtype=np.uint8) if buffer is not None and buffer.size else np.empty(0, dtype=np.uint8)
