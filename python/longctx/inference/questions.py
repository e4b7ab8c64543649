"""Several questions about the same chunks: a document is tokenized and cut once, and only the fixed tokens behind its chunks change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch, RowLayout
    from longctx.chunking import Chunker


@dataclass(frozen=True)
class Question:
    """The fixed tokens that ask one question.

    Attributes:
        after_ids: int32 ``(n,)``, behind the chunk.
        layout: of rows that ask it.
    """

    after_ids: NDArray[Any]
    layout: RowLayout

    @property
    def n_after(self) -> int:
        """How many fixed tokens stand behind the chunk."""
        return len(self.after_ids)

    def ask(self, batch: ChunkBatch) -> ChunkBatch:
        """Give the rows of ``batch``, which ask another question of the same kind, with this one instead."""
        n_old = len(batch.layout.after_type_ids)
        lengths = (batch.lengths + (self.n_after - n_old)).astype(np.int32)
        if batch.padding_side == "left":
            after = np.broadcast_to(self.after_ids, (batch.n_rows, self.n_after))
            ids = np.concatenate([batch.input_ids[:, : batch.width - n_old], after], axis=1)
        else:
            ids = np.full((batch.n_rows, batch.width + self.n_after - n_old), self.layout.pad_id, batch.input_ids.dtype)
            width = min(batch.width, ids.shape[1])
            ids[:, :width] = batch.input_ids[:, :width]
            places = (lengths - self.n_after)[:, None] + np.arange(self.n_after)
            np.put_along_axis(ids, places.astype(np.int64), self.after_ids[None], axis=1)
            ids[np.arange(ids.shape[1]) >= lengths[:, None]] = self.layout.pad_id
        return replace(batch, input_ids=ids, lengths=lengths, layout=self.layout)


def question_of(chunker: Chunker) -> Question:
    """Read the fixed tokens off the row of an empty document, which has no others."""
    batch = chunker("")
    n_tokens, n_after = int(batch.lengths[0]), len(batch.layout.after_type_ids)
    row = batch.input_ids[0, -n_tokens:] if batch.padding_side == "left" else batch.input_ids[0, :n_tokens]
    return Question(row[n_tokens - n_after :].copy(), batch.layout)
