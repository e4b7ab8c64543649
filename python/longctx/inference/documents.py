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
    from longctx.batch import ChunkBatch
    from longctx.coverage import Coverage

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
    """Passes documents on one by one and remembers those whose results are still to come."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self._waiting: dict[int, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        is_column = hasattr(self._documents, "__arrow_c_stream__") or hasattr(self._documents, "__arrow_c_array__")
        # One by one, so that a slow source is not read ahead; slices of a column, whose slicing costs.
        slices = groups(self._documents, max_documents=COLUMN_SLICE if is_column else 1, max_chars=1)
        for index, document in enumerate(chain.from_iterable(slices)):
            # Arrow scalars become str here; everything else is judged by the chunker.
            plain = document.as_py() if hasattr(document, "as_py") else document
            self._waiting[index] = plain
            yield plain

    def take(self, index: int) -> str:
        """Give the text of a document and forget it."""
        document = self._waiting.pop(index)
        return document if isinstance(document, str) else bytes(document).decode("utf-8")


class DocumentCollector:
    """Turns chunk batches with their values into complete documents, in order."""

    def __init__(self, texts: TextTap) -> None:
        self._texts = texts
        self._index = -1
        self._pieces: list[tuple[NDArray[Any], ...]] = []
        self._coverage: Coverage | None = None

    def add(self, batch: ChunkBatch, values: NDArray[np.float32]) -> list[DocumentRows]:
        """Take a batch with values ``(n_rows, d)``; give the documents that are complete now.

        The last document of a batch may go on in the next one, so it waits until another one starts.
        """
        complete: list[DocumentRows] = []
        starts = np.flatnonzero(np.diff(batch.document_index, prepend=-1)).tolist()
        ends = [*starts[1:], batch.n_rows]
        for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
            index = int(batch.document_index[start])
            if index != self._index:
                complete += self.finish()
            self._index = index
            self._coverage = batch.coverage[position]
            columns = (values, batch.fresh_tokens, batch.token_spans, batch.char_spans)
            # Copies: a view would keep the whole batch alive until the document is complete.
            self._pieces.append(tuple(column[start:end].copy() for column in columns))
        return complete

    def finish(self) -> list[DocumentRows]:
        """Give the document that is still waiting, if there is one."""
        if self._coverage is None:
            return []
        values, fresh, tokens, chars = (np.concatenate(column) for column in zip(*self._pieces, strict=True))
        text = self._texts.take(self._index)
        document = DocumentRows(self._index, text, values, fresh, tokens, chars, self._coverage)
        self._pieces, self._coverage = [], None
        return [document]


def same_chunk_count(documents: Sequence[DocumentRows]) -> dict[int, list[int]]:
    """Positions of the documents by their number of chunks: those of a group stack without padding."""
    groups: dict[int, list[int]] = {}
    for position, document in enumerate(documents):
        groups.setdefault(len(document.values), []).append(position)
    return groups
