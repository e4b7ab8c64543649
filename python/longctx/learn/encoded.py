"""Labelled documents as the trainer reads them: tokenized once, or as the states that a frozen encoder gave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from longctx.chunking import Chunker
from longctx.nn.rows import DocumentBatch


class ChunkDraw:
    """Draws at most ``most`` chunks of each document, others in each epoch.

    What is drawn depends on the seed, the epoch and the document's number alone, so that a resumed training draws the same.

    Args:
        most: chunks of a document.
        seed: of the draw.
    """

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # workers of a data loader see it

    def set_epoch(self, epoch: int) -> None:
        """Draw anew."""
        self._epoch[0] = epoch

    def __call__(self, document: int, n_chunks: int) -> NDArray[np.int64]:
        """Numbers of the chunks, in order."""
        if n_chunks <= self._most:
            return np.arange(n_chunks)
        random = np.random.default_rng([self._seed, int(self._epoch), document])
        return np.sort(random.choice(n_chunks, self._most, replace=False))


@dataclass(frozen=True)
class EncodedDocuments(Dataset[Any]):
    """Documents as flat arrays. An item is this and a document's number; ``collate`` makes a batch of items.

    Attributes:
        row_starts: int64 ``(n_documents + 1,)``: rows of document ``i`` are ``row_starts[i]:row_starts[i + 1]``.
        lengths: int64 ``(n_rows,)``: tokens of each row.
        fresh_tokens: int64 ``(n_rows,)``.
        truth: ``(n_documents,)`` int64, or ``(n_documents, n_labels)`` float32.
        ids: int32 ``(n_tokens,)``; None where states are given.
        types: int32 ``(n_tokens,)``; None where the encoder takes none.
        states: of each document float32 ``(n_chunks, hidden)`` or ``(n_tokens, hidden)``, perhaps on disk.
        per_token: states are those of tokens.
        draw: chooses among a document's chunks; None takes all.
    """

    row_starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    fresh_tokens: NDArray[np.int64]
    truth: NDArray[Any]
    ids: NDArray[np.int32] | None = None
    types: NDArray[np.int32] | None = None
    states: Sequence[NDArray[np.float32]] | None = None
    per_token: bool = False
    draw: ChunkDraw | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, index: int) -> tuple[EncodedDocuments, int]:
        return self, index

    @property
    def n_chunks(self) -> NDArray[np.int64]:
        """Int64 ``(n_documents,)``."""
        return np.diff(self.row_starts)

    def subset(self, documents: Sequence[int]) -> EncodedDocuments:
        """Give some of the documents, in this order: a fold of a cross-validation need not be read again."""
        rows = [np.arange(self.row_starts[document], self.row_starts[document + 1]) for document in documents]
        chosen = np.concatenate(rows)
        return replace(
            self,
            row_starts=np.concatenate([[0], np.cumsum([len(each) for each in rows])]),
            lengths=self.lengths[chosen],
            fresh_tokens=self.fresh_tokens[chosen],
            truth=self.truth[np.asarray(documents)],
            ids=None if self.ids is None else self.ids[self._tokens(chosen)],
            types=None if self.types is None else self.types[self._tokens(chosen)],
            states=None if self.states is None else [self.states[document] for document in documents],
        )

    def batch(self, documents: Sequence[int]) -> dict[str, Any]:
        """Give what a training step reads of these documents: "labels", and "documents", a ``DocumentBatch``."""
        rows = [self._rows(document) for document in documents]
        chosen = np.concatenate(rows)
        states = None if self.states is None else self._states(self.states, documents, rows)
        batch = DocumentBatch(
            n_chunks=torch.tensor([len(each) for each in rows]),
            fresh_tokens=torch.from_numpy(self.fresh_tokens[chosen]),
            lengths=torch.from_numpy(self.lengths[chosen]),
            ids=None if self.ids is None else torch.from_numpy(self.ids[self._tokens(chosen)]),
            types=None if self.types is None else torch.from_numpy(self.types[self._tokens(chosen)]),
            states=states,
        )
        # Labels first: transformers takes the size of a batch from the first tensor it finds.
        return {"labels": torch.from_numpy(self.truth[np.asarray(documents)]), "documents": batch}

    def _rows(self, document: int) -> NDArray[np.int64]:
        first, last = int(self.row_starts[document]), int(self.row_starts[document + 1])
        return np.arange(first, last) if self.draw is None else first + self.draw(document, last - first)

    def _states(self, states: Sequence[NDArray[np.float32]], documents: Sequence[int], rows: list[NDArray[np.int64]]) -> torch.Tensor:
        parts = []
        for document, chosen in zip(documents, rows, strict=True):
            first = self.row_starts[document]
            places = self._tokens(chosen) - self._token_starts[first] if self.per_token else chosen - first
            parts.append(states[document][places])
        return torch.from_numpy(np.concatenate(parts))

    def _tokens(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the tokens of these rows, in order."""
        lengths = self.lengths[rows]
        before = np.cumsum(lengths) - lengths
        places: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(self._token_starts[rows] - before, lengths)
        return places

    @cached_property
    def _token_starts(self) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        return starts


def encode_documents(texts: Iterable[str], truth: NDArray[Any], chunker: Chunker, *, takes_types: bool) -> EncodedDocuments:
    """Tokenize documents and cut them into rows.

    Args:
        texts: the documents.
        truth: their labels, as ``EncodedDocuments`` has them.
        chunker: of the model that will read them.
        takes_types: the encoder has an input for segments.
    """
    counts = np.zeros(len(truth), np.int64)
    lengths, fresh, ids, types = [], [], [], []
    for batch in chunker.stream(texts):
        np.add.at(counts, batch.document_index, 1)
        lengths.append(batch.lengths.astype(np.int64))
        fresh.append(batch.fresh_tokens)
        ids.append(batch.packed().ids)
        segments = batch.token_type_ids if takes_types else None
        if segments is not None:
            types.append(segments[batch.attention_mask.astype(bool)])
    return EncodedDocuments(
        row_starts=np.concatenate([[0], np.cumsum(counts)]),
        lengths=np.concatenate(lengths),
        fresh_tokens=np.concatenate(fresh),
        truth=truth,
        ids=np.concatenate(ids),
        types=np.concatenate(types) if types else None,
    )


def collate(items: Sequence[tuple[EncodedDocuments, int]]) -> dict[str, Any]:
    """Put items of one data set together."""
    return items[0][0].batch([document for _, document in items])
