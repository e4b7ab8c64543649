"""A group of rows through a backend: to the device and back without waiting for it, and less at a time when memory ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longctx.errors import ModelError
from longctx.inference.backends.base import Backend
from longctx.inference.flow import Piece, RowFlow
from longctx.inference.meter import Meter
from longctx.inference.packing import PackedBackend, PackedRows
from longctx.inference.planning import MOST_PADDING, Padding, RowGroup, RowPool
from longctx.inference.transfer import LateValues, Transfer, transfer_for

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch

logger = logging.getLogger(__name__)

Finish = Callable[[Tensor], Tensor]
"""From what the backend reads of the rows ``(n_rows, ...)`` to their values ``(n_rows, d)``, on the same device."""
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "defaultcpuallocator")
MOST_PADDING_AT_END = 0.25
"""On an accelerator a small batch costs as much as a larger one with some padding."""
LATE_BATCHES = 2
"""Batches an accelerator has in work before the results of the first are asked for."""


class PendingValues(Protocol):
    """Values that may still be computed."""

    def values(self) -> NDArray[np.float32]:
        """Float32 ``(n_rows, d)``; waits for them."""


class RowRunner:
    """Runs groups of rows through one backend.

    Args:
        backend: computes a batch.
        finish: makes values of what the backend reads.
        token_budget: largest ``n_rows * width`` of a batch; halved, for good, when memory runs out.
        packed: reads packed rows; None where the model cannot.
        deterministic: one row at a time, so that the arithmetic is the same whatever else is read.
    """

    def __init__(
        self,
        backend: Backend,
        finish: Finish | None = None,
        *,
        token_budget: int,
        packed: PackedBackend | None = None,
        deterministic: bool = False,
    ) -> None:
        self.backend = backend
        self.finish = finish
        self.token_budget = token_budget
        self.packed = None if deterministic else packed
        self.deterministic = deterministic
        self._transfer: Transfer = transfer_for(backend.device)

    @property
    def device(self) -> torch.device:
        """Where the backend computes."""
        return self.backend.device

    @property
    def takes_types(self) -> bool:
        """Whether rows need their segments."""
        return self.backend.facts.takes_types

    @property
    def n_late(self) -> int:
        """How many groups may be started before the first one's values are fetched."""
        return LATE_BATCHES if self.device.type == "cuda" else 0

    def run(self, batch: ChunkBatch) -> NDArray[np.float32]:
        """Values float32 ``(n_rows, d)`` in the order of the batch's rows.

        Raises:
            ModelError: a single row does not fit in memory, the model gave NaN or infinite values, or the tokenizer is not the model's.
        """
        if not batch.n_rows:
            raise ModelError("There are no rows to run: the chunk batch is empty.")
        flow = RowFlow(self, self.new_pool(frozenset({int(batch.lengths.max())}), batch.padding_side), Meter())
        flow.add([batch])
        while flow.step(is_end=True):
            pass
        return _values(flow.complete())

    def new_pool(self, full_lengths: frozenset[int], padding_side: str) -> RowPool:
        """Give a pool for rows of this model."""
        at_end = MOST_PADDING if self.device.type == "cpu" else MOST_PADDING_AT_END
        packs = self.packed is not None and padding_side == "right"
        return RowPool(full_lengths, padding=self._padding(padding_side), packs=packs, most_padding_at_end=at_end)

    def check_ids(self, batch: ChunkBatch) -> None:
        """Find a foreign tokenizer here: on CUDA it would break the whole process."""
        largest = int(batch.input_ids.max(initial=0))
        n_known_ids = self.backend.facts.n_known_ids
        if n_known_ids is not None and largest >= n_known_ids:
            raise ModelError(f"The tokenizer gave id {largest}, but the model knows {n_known_ids} ids; give the model's own tokenizer.")

    def start(self, group: RowGroup) -> PendingValues | None:
        """Begin to compute a group; None when memory ran out: the budget is smaller now, and the rows have to be planned again."""
        try:
            with torch.inference_mode():
                values = self._run_packed(group) if group.is_packed else self._run_rectangle(group)
                values = values if self.finish is None else self.finish(values)
                return LateValues(values.float())
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._halve(group)
        return None

    def _padding(self, padding_side: str) -> Padding:
        if self.deterministic or not self.backend.facts.can_pad:
            return "single"
        # Moving a left-padded row shifts its positions, so such rows only meet rows of their own length.
        return "never" if padding_side == "left" or not self.backend.facts.takes_mask else "allowed"

    def _halve(self, group: RowGroup) -> None:
        if len(group.rows) == 1:
            raise ModelError(
                f"Out of memory on {self.device} with a single row of {group.width} tokens; "
                "use a smaller max_tokens, another device or dtype='bfloat16'."
            )
        self.token_budget = max(1, group.n_tokens // 2)
        logger.warning("out of memory on %s: token_budget is now %d", self.device, self.token_budget)

    def _run_rectangle(self, group: RowGroup) -> Tensor:
        width, layout = group.width, group.rows[0].layout
        ids = _rectangle([row.ids for row in group.rows], width, layout.pad_id)
        mask = None
        if not group.is_even:
            lengths = self._transfer.to_device(np.array([row.n_tokens for row in group.rows], np.int32))
            mask = torch.arange(width, device=self.device) < lengths.unsqueeze(1)
        types = None
        if self.takes_types and group.rows[0].types is not None:
            types = self._transfer.to_device(_rectangle([row.types for row in group.rows], width, layout.pad_token_type_id))
        return self.backend.run(self._transfer.to_device(ids), mask, types)

    def _run_packed(self, group: RowGroup) -> Tensor:
        if self.packed is None:
            raise ValueError("this model cannot read packed rows")  # the pool packs only where it can
        lengths = [row.n_tokens for row in group.rows]
        starts = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=starts[1:])
        types = None
        if self.takes_types and group.rows[0].types is not None:
            types = self._transfer.to_device(np.concatenate([row.types for row in group.rows if row.types is not None]))
        ids = self._transfer.to_device(np.concatenate([row.ids for row in group.rows if row.ids is not None]))
        return self.packed.run(PackedRows(ids, types, self._transfer.to_device(starts), lengths))


def _rectangle(rows: list[NDArray[np.int32] | None], width: int, padding: int) -> NDArray[np.int32]:
    """Rows filled up on the right, int32 ``(n_rows, width)``."""
    filled = np.full((len(rows), width), padding, np.int32)
    for line, row in zip(filled, _given(rows), strict=True):
        line[: len(row)] = row
    return filled


def _given(rows: list[NDArray[np.int32] | None]) -> Iterator[NDArray[np.int32]]:
    return (row for row in rows if row is not None)


def _values(pieces: list[Piece]) -> NDArray[np.float32]:
    values = pieces[0].values
    if values is None:
        raise ModelError("The model gave no values.")
    return values


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)
