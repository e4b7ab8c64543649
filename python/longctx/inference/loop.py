"""Rows through the model: batches by token budget, less at a time when memory ends, a check of every output."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longctx.errors import ModelError
from longctx.inference.backends.base import Backend
from longctx.inference.planning import Padding, RowGroup, plan_groups

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch

logger = logging.getLogger(__name__)

Finish = Callable[[Tensor], Tensor]
"""From what the backend reads of the rows ``(n_rows, ...)`` to their values ``(n_rows, d)``, on the same device."""
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "defaultcpuallocator")


class RowRunner:
    """Runs the rows of chunk batches through one backend.

    Args:
        backend: computes a batch.
        finish: makes values of what the backend reads.
        token_budget: largest ``n_rows * width`` of a batch; halved, for good, when memory runs out.
    """

    def __init__(self, backend: Backend, finish: Finish | None = None, *, token_budget: int) -> None:
        self.backend = backend
        self.finish = finish
        self.token_budget = token_budget

    @property
    def device(self) -> torch.device:
        """Where the backend computes."""
        return self.backend.device

    def run(self, batch: ChunkBatch) -> NDArray[np.float32]:
        """Values float32 ``(n_rows, d)`` in the order of the batch's rows.

        Raises:
            ModelError: a single row does not fit in memory, the model gave NaN or infinite values, or the tokenizer is not the model's.
        """
        self._check_ids(batch)
        padding = self._padding(batch)
        types = batch.token_type_ids if self.backend.facts.takes_types else None
        waiting = deque(plan_groups(batch.lengths, token_budget=self.token_budget, padding=padding))
        values: NDArray[np.float32] | None = None
        while waiting:
            group = waiting.popleft()
            result = self._try_group(batch, types, group)
            if result is None:
                self._halve(group)
                rest = np.concatenate([group.rows, *(later.rows for later in waiting)])
                waiting = deque(self._plan_rows(batch, rest, padding))
                continue
            if values is None:
                values = np.empty((batch.n_rows, result.shape[1]), np.float32)
            values[group.rows] = result
        if values is None:
            raise ModelError("There are no rows to run: the chunk batch is empty.")
        _check_finite(values, batch)
        return values

    def _check_ids(self, batch: ChunkBatch) -> None:
        """Find a foreign tokenizer here: on CUDA it would break the whole process."""
        largest = int(batch.input_ids.max(initial=0))
        n_known_ids = self.backend.facts.n_known_ids
        if n_known_ids is not None and largest >= n_known_ids:
            raise ModelError(f"The tokenizer gave id {largest}, but the model knows {n_known_ids} ids; give the model's own tokenizer.")

    def _padding(self, batch: ChunkBatch) -> Padding:
        if not self.backend.facts.can_pad:
            return "single"
        # Moving a left-padded row shifts its positions, so such rows only meet rows of their own length.
        return "never" if batch.padding_side == "left" or not self.backend.facts.takes_mask else "allowed"

    def _plan_rows(self, batch: ChunkBatch, rows: NDArray[np.int64], padding: Padding) -> list[RowGroup]:
        groups = plan_groups(batch.lengths[rows], token_budget=self.token_budget, padding=padding)
        return [RowGroup(rows[group.rows], group.width, group.is_even) for group in groups]

    def _try_group(self, batch: ChunkBatch, types: Any, group: RowGroup) -> NDArray[np.float32] | None:
        """Give the group's values, or None when memory ran out."""
        try:
            return self._run_group(batch, types, group)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _halve(self, group: RowGroup) -> None:
        if len(group.rows) == 1:
            raise ModelError(
                f"Out of memory on {self.device} with a single row of {group.width} tokens; "
                "use a smaller max_tokens, another device or dtype='bfloat16'."
            )
        self.token_budget = max(1, group.n_tokens // 2)
        logger.warning("out of memory on %s: token_budget is now %d", self.device, self.token_budget)

    def _run_group(self, batch: ChunkBatch, types: Any, group: RowGroup) -> NDArray[np.float32]:
        columns = slice(batch.width - group.width, None) if batch.padding_side == "left" else slice(0, group.width)
        ids = self._tensor(batch.input_ids[group.rows, columns])
        mask = None
        if not group.is_even:
            lengths = self._tensor(batch.lengths[group.rows])
            mask = torch.arange(group.width, device=self.device) < lengths.unsqueeze(1)
        token_types = None if types is None else self._tensor(types[group.rows, columns])
        with torch.inference_mode():
            values = self.backend.run(ids, mask, token_types)
            if self.finish is not None:
                values = self.finish(values)
            return np.asarray(values.float().cpu().numpy())

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)


def _check_finite(values: NDArray[np.float32], batch: ChunkBatch) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        row = int(bad[0])
        start, end = (int(edge) for edge in batch.token_spans[row])
        raise ModelError(
            f"The model gave NaN or infinite values for document {int(batch.document_index[row])} "
            f"(tokens {start}-{end}); with dtype='float16' use 'float32' or 'bfloat16', else check the checkpoint."
        )
