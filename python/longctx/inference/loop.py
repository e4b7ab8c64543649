"""A group of rows through a backend: to the device or a worker and back without waiting, and less at a time when memory ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longctx.errors import ModelError
from longctx.inference.backends.base import Backend
from longctx.inference.backends.fused import KEPT_MEMORY
from longctx.inference.flow import Piece, RowFlow
from longctx.inference.meter import Meter
from longctx.inference.packing import PackedBackend, PackedRows
from longctx.inference.planning import MOST_PADDING, Padding, RowGroup, RowPool
from longctx.inference.transfer import LateValues, Transfer, transfer_for
from longctx.inference.workers import Workers

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch

logger = logging.getLogger(__name__)

Finish = Callable[[Tensor], Tensor]
"""From what the backend reads of the rows ``(n_rows, ...)`` to their values ``(n_rows, d)``, on the same device."""
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "defaultcpuallocator")
MOST_PADDING_AT_END = 0.25
"""On an accelerator a small batch costs as much as a larger one with some padding."""
LATE_BATCHES = 16
"""Batches an accelerator has in work before the results of the first are waited for. While it computes them, the next slice of rows is
taken in and documents are decided, which for a small model takes as long. Only ids and values wait."""
LATE_BATCHES_OF_TOKENS = 2
"""The same where the values are the states of all tokens, hundreds of megabytes a batch."""


class PendingValues(Protocol):
    """Values that may still be computed."""

    @property
    def are_there(self) -> bool:
        """True where nothing has to be waited for."""

    def values(self) -> NDArray[np.float32] | None:
        """Float32 ``(n_rows, d)``; waits for them. None: memory ran out."""


class WorkerValues:
    """Values that a worker computes."""

    def __init__(self, future: Future[LateValues | None]) -> None:
        self._future = future

    @property
    def are_there(self) -> bool:
        """As the interface says."""
        return self._future.done()

    def values(self) -> NDArray[np.float32] | None:
        """As the interface says; an error of the model is raised here."""
        computed = self._future.result()
        return None if computed is None else computed.values()


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
        self._is_tight = False

    @property
    def device(self) -> torch.device:
        """Where the backend computes."""
        return self.backend.device

    @property
    def takes_types(self) -> bool:
        """Whether rows need their segments."""
        return self.backend.facts.takes_types

    @property
    def n_parallel(self) -> int:
        """How many groups are computed at a time. With ``deterministic`` one, or a row's threads would depend on its company."""
        return 1 if self.deterministic or self._is_tight else self.backend.n_parallel

    @property
    def n_late(self) -> int:
        """How many groups may be started before the first one's values are fetched: with workers one more than they have in work."""
        if self._is_tight:
            return 0
        if self.device.type == "cuda":
            return LATE_BATCHES_OF_TOKENS if self.backend.readout.kind == "tokens" else LATE_BATCHES
        return self.n_parallel if self.n_parallel > 1 else 0

    def run(self, batch: ChunkBatch) -> NDArray[np.float32]:
        """Values float32 ``(n_rows, d)`` in the order of the batch's rows.

        Raises:
            ModelError: a single row does not fit in memory, the model gave NaN or infinite values, or the tokenizer is not the model's.
        """
        if not batch.n_rows:
            raise ModelError("There are no rows to run: the chunk batch is empty.")
        flow = RowFlow(self, self.new_pool(frozenset({int(batch.lengths.max())}), batch.padding_side), Meter())
        try:
            flow.add([batch])
            while flow.step(is_end=True):
                pass
        finally:
            flow.close()
        return _values(flow.complete())

    def new_pool(self, full_lengths: frozenset[int], padding_side: str) -> RowPool:
        """Give a pool for rows of this model."""
        at_end = MOST_PADDING if self.device.type == "cpu" else MOST_PADDING_AT_END
        packs = self.packed is not None and padding_side == "right"
        padding = self._padding(padding_side)
        return RowPool(full_lengths, padding=padding, packs=packs, most_padding_at_end=at_end, n_parallel=self.n_parallel)

    def check_ids(self, batch: ChunkBatch) -> None:
        """Find a foreign tokenizer here: on CUDA it would break the whole process."""
        largest = int(batch.input_ids.max(initial=0))
        n_known_ids = self.backend.facts.n_known_ids
        if n_known_ids is not None and largest >= n_known_ids:
            raise ModelError(f"The tokenizer gave id {largest}, but the model knows {n_known_ids} ids; give the model's own tokenizer.")

    def start(self, group: RowGroup, workers: Workers | None) -> PendingValues | None:
        """Begin to compute a group, in one of the workers where they are given; None: memory ran out."""
        return self._compute(group) if workers is None else WorkerValues(workers.submit(partial(self._compute, group)))

    def shrink(self, group: RowGroup, *, had_company: bool) -> None:
        """Do less at a time from now on, because memory ran out for this group.

        Raises:
            ModelError: it is a single row, and no other group was computed beside it.
        """
        KEPT_MEMORY.release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(group.rows) > 1:
            self.token_budget = max(1, min(self.token_budget, group.n_tokens // 2))
            logger.warning("out of memory on %s: token_budget is now %d", self.device, self.token_budget)
        elif had_company:
            self._is_tight = True
            logger.warning("out of memory on %s: one batch at a time from now on", self.device)
        else:
            raise ModelError(
                f"Out of memory on {self.device} with a single row of {group.width} tokens; "
                "use a smaller max_tokens, another device or dtype='bfloat16'."
            )

    def _compute(self, group: RowGroup) -> LateValues | None:
        """Values of a group; None, and none of its tensors is kept, when memory ran out. Runs in any thread."""
        try:
            with torch.inference_mode():  # which holds for a single thread
                values = self._run_packed(group) if group.is_packed else self._run_rectangle(group)
                values = values if self.finish is None else self.finish(values)
                return LateValues(values.float())
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        return None

    def _padding(self, padding_side: str) -> Padding:
        if self.deterministic or not self.backend.facts.can_pad:
            return "single"
        # Moving a left-padded row shifts its positions, so such rows only meet rows of their own length.
        return "never" if padding_side == "left" or not self.backend.facts.takes_mask else "allowed"

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
