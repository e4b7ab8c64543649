"""Which rows go to the model together. Arithmetic only: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Padding = Literal["allowed", "never", "single"]
"""May rows of a batch differ in length? "single": one row per batch, for models that cannot tell padding."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that go to the model together.

    Attributes:
        rows: int64 ``(n,)``, row numbers in the chunk batch.
        width: tokens of the longest of them.
        is_even: True when all have that length, so that no mask is needed.
    """

    rows: NDArray[np.int64]
    width: int
    is_even: bool

    @property
    def n_tokens(self) -> int:
        """Tokens the model computes for this group, padding included."""
        return len(self.rows) * self.width


def plan_groups(lengths: NDArray[np.int32], *, token_budget: int, padding: Padding = "allowed") -> list[RowGroup]:
    """Cut rows, longest first, into groups of ``n_rows * width <= token_budget`` (a longer row goes alone).

    Longest first, so that a lack of memory shows at the start. The full rows of long documents end up in groups of
    equal length, which need no mask.

    >>> [group.rows.tolist() for group in plan_groups(np.array([2, 5, 2, 5], np.int32), token_budget=10)]
    [[1, 3], [0, 2]]
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    groups, start = [], 0
    while start < len(order):
        width = int(lengths[order[start]])
        n_rows = 1 if padding == "single" else max(1, token_budget // max(width, 1))
        rows = order[start : start + n_rows]
        n_even = int((lengths[rows] == width).sum())
        if n_even < len(rows) and (padding == "never" or _is_mostly_even(n_even, n_rows)):
            rows = rows[:n_even]
        groups.append(RowGroup(rows, width, is_even=n_even >= len(rows)))
        start += len(rows)
    return groups


def _is_mostly_even(n_even: int, n_rows: int) -> bool:
    """Half a group of full rows runs alone, without a mask, rather than dragging shorter rows to its width."""
    return 2 * n_even >= n_rows
