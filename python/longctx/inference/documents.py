"""Rows back to documents: collects a document's row results until it is complete, and keeps its text that long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longctx.documents import groups

if TYPE_CHECKING:
    from longctx.coverage import Coverage
    from longctx.inference.flow import Piece

COLUMN_SLICE = 1024


@dataclass(frozen=True, slots=True)
class DocumentRows:
    """Everything the rows of one document gave.

    Attributes:
        index: the document's number.
        text: the document.
        values: float32 ``(n_chunks, d)``.
        fresh_tokens: int64 ``(n_chunks,)``.
        token_spans: int64 ``(n_chunks, 2)``.
        char_spans: int64 ``(n_chunks, 2)``.
        coverage: what was read.
    """

    index: int
    text: str
    values: NDArray[np.float32]
    fresh_tokens: NDArray[np.int64]
    token_spans: NDArray[np.int64]
    char_spans: NDArray[np.int64]
    coverage: Coverage


class TextTap:
    """Passes documents on one by one and remembers those whose results are still to come.

    An error of the source ends the documents; it is raised by ``check`` when those before it are done.
    """

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self._waiting: dict[int, Any] = {}
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        is_column = hasattr(self._documents, "__arrow_c_stream__") or hasattr(self._documents, "__arrow_c_array__")
        # One by one, so that a slow source is not read ahead; slices of a column, whose slicing costs.
        slices = groups(self._documents, max_documents=COLUMN_SLICE if is_column else 1, max_chars=1)
        try:
            for index, document in enumerate(chain.from_iterable(slices)):
                # Arrow scalars become str here; everything else is judged by the chunker.
                plain = document.as_py() if hasattr(document, "as_py") else document
                self._waiting[index] = plain
                yield plain
        except Exception as error:  # the user's own, or ours about what was given
            self._error = error

    def check(self) -> None:
        """Raise what ended the source, if anything did."""
        if self._error is not None:
            raise self._error

    def take(self, index: int) -> str:
        """Give the text of a document and forget it."""
        document = self._waiting.pop(index)
        return document if isinstance(document, str) else bytes(document).decode("utf-8")


class _Unfinished:
    """The rows of one document that are read so far, in arrays of their final length."""

    def __init__(self, piece: Piece, coverage: Coverage) -> None:
        n_rows = coverage.chunks_read
        n_values = 0 if piece.values is None else piece.values.shape[1]
        columns = ((np.float32, (n_values,)), (np.int64, ()), (np.int64, (2,)), (np.int64, (2,)))
        self.columns = [np.empty((n_rows, *shape), dtype) for dtype, shape in columns]
        self.coverage = coverage
        self.n_missing = n_rows

    def put(self, rows: slice, columns: Sequence[NDArray[Any]], at: int) -> None:
        """Copy rows of a piece to their place in the document."""
        n_rows = rows.stop - rows.start
        for whole, part in zip(self.columns, columns, strict=True):
            whole[at : at + n_rows] = part[rows]
        self.n_missing -= n_rows


class DocumentCollector:
    """Turns pieces, complete in any order, into complete documents in the order of the source."""

    def __init__(self, texts: TextTap) -> None:
        self._texts = texts
        self._unfinished: dict[int, _Unfinished] = {}
        self._rows_before: dict[int, int] = {}
        self._next = 0

    def expect(self, piece: Piece) -> None:
        """Note where in their documents the rows of a piece belong. Pieces of a document are announced in its order."""
        piece.first_row = self._rows_before.get(int(piece.document_index[0]), 0) if piece.n_rows else 0
        for rows, index, coverage in _documents_of(piece):
            n_before = self._rows_before.pop(index, 0) + rows.stop - rows.start
            if n_before < coverage.chunks_read:
                self._rows_before[index] = n_before

    def add(self, piece: Piece) -> None:
        """Take a piece whose values are all there."""
        if piece.values is None:
            return
        columns = (piece.values, piece.fresh_tokens, piece.token_spans, piece.char_spans)
        at = piece.first_row
        for rows, index, coverage in _documents_of(piece):
            document = self._unfinished.get(index)
            if document is None:
                document = self._unfinished[index] = _Unfinished(piece, coverage)
            document.put(rows, columns, at)
            at = 0  # only the first document of a piece may have begun before it

    def complete(self) -> Iterator[DocumentRows]:
        """Give the documents that are complete, up to the first that is not."""
        while (document := self._unfinished.get(self._next)) is not None and not document.n_missing:
            del self._unfinished[self._next]
            text = self._texts.take(self._next)
            values, fresh, tokens, chars = document.columns
            yield DocumentRows(self._next, text, values, fresh, tokens, chars, document.coverage)
            self._next += 1


def _documents_of(piece: Piece) -> Iterator[tuple[slice, int, Coverage]]:
    """Rows of each document in a piece, its number and coverage."""
    starts = np.flatnonzero(np.diff(piece.document_index, prepend=-1)).tolist()
    for position, (start, end) in enumerate(zip(starts, [*starts[1:], piece.n_rows], strict=True)):
        yield slice(start, end), int(piece.document_index[start]), piece.coverage[position]


def same_chunk_count(documents: Sequence[DocumentRows]) -> dict[int, list[int]]:
    """Positions of the documents by their number of chunks: those of a group stack without padding."""
    groups: dict[int, list[int]] = {}
    for position, document in enumerate(documents):
        groups.setdefault(len(document.values), []).append(position)
    return groups
