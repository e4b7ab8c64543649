"""Which rows go to the model together. No torch: arithmetic and queues.

Two lanes. Full rows wait until a batch of them is complete: no mask, always the same shape. Tails (a document's last row, and documents
that fit in one) are packed where the model can read packed rows, and meet rows of nearly their own length otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

if TYPE_CHECKING:
    from longctx.batch import RowLayout
    from longctx.inference.flow import Piece

Padding = Literal["allowed", "never", "single"]
"""May rows of a batch differ in length? "single": one row per batch, for models that cannot tell padding."""
MOST_PADDING = 0.02
"""Share of a batch's tokens that may be padding."""
LOOK_AHEAD_BATCHES = 32
"""Batches of tails that are gathered so that lengths match, where rows are not packed."""
MOST_WAIT_BATCHES = 64
"""A row that waited for so many batches goes next, whatever is with it: its document may hold up finished ones."""


@dataclass(slots=True, eq=False)
class Row:
    """A row that the model reads once, for all places where it stands.

    Attributes:
        ids: ``(n_tokens,)``, without padding; None once the row was read.
        types: the same for segments; None where the model takes none.
        n_tokens: length of ``ids``.
        layout: what padding looks like.
        places: pieces and row numbers in them, and the number of the question, that wait for the values.
        values: float32 ``(d,)`` once the row was read.
        born: batches that had been taken when it came.
    """

    ids: NDArray[Any] | None
    types: NDArray[Any] | None
    n_tokens: int
    layout: RowLayout
    places: list[tuple[Piece, int, int]] = field(default_factory=list)
    values: NDArray[Any] | None = None
    born: int = 0


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that go to the model together.

    Attributes:
        rows: at least one.
        is_packed: one after the other instead of as a rectangle.
    """

    rows: list[Row]
    is_packed: bool = False

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return max(row.n_tokens for row in self.rows)

    @property
    def n_row_tokens(self) -> int:
        """Tokens of the rows themselves."""
        return sum(row.n_tokens for row in self.rows)

    @property
    def n_tokens(self) -> int:
        """Tokens the model computes for this group, padding included."""
        return self.n_row_tokens if self.is_packed else len(self.rows) * self.width

    @property
    def is_even(self) -> bool:
        """True when all rows have one length, so that no mask is needed."""
        return all(row.n_tokens == self.rows[0].n_tokens for row in self.rows)


class RowPool:
    """Rows that wait for the model.

    Args:
        full_lengths: lengths of rows that go into the lane of full rows.
        padding: what the model allows.
        packs: tails are packed.
        most_padding: share of padding in a batch.
        most_padding_at_end: the same when no more rows will come, so that waiting would not help.
        n_parallel: groups that the model reads at a time. None is given while there are rows for fewer; the last rows are shared out.
    """

    def __init__(
        self,
        full_lengths: frozenset[int],
        *,
        padding: Padding = "allowed",
        packs: bool = False,
        most_padding: float = MOST_PADDING,
        most_padding_at_end: float = MOST_PADDING,
        n_parallel: int = 1,
    ) -> None:
        self._full_lengths = full_lengths
        self._padding = padding
        self._packs = packs and padding != "single"
        self._most_padding = most_padding
        self._most_padding_at_end = most_padding_at_end
        self._n_parallel = n_parallel
        self._full: dict[int, deque[Row]] = {}
        self._tails: dict[int, deque[Row]] = {}
        self._n_tail_tokens = 0
        self._n_taken = 0

    @property
    def n_tokens(self) -> int:
        """Tokens of the rows that wait."""
        return self._n_tail_tokens + sum(length * len(lane) for length, lane in self._full.items())

    def add(self, row: Row) -> None:
        """Let a row wait."""
        row.born = self._n_taken
        self._lane(row).append(row)

    def put_back(self, group: RowGroup) -> None:
        """Let the rows of a group that did not fit in memory wait again, before all others."""
        for row in reversed(group.rows):
            self._lane(row).appendleft(row)

    def take(self, token_budget: int, *, is_end: bool) -> RowGroup | None:
        """Give the next group of at most ``token_budget`` tokens (a longer row goes alone); None: wait for more rows.

        With ``is_end`` no more rows will come soon, and None means that there are none.
        """
        if is_end and self._n_parallel > 1:
            token_budget = min(token_budget, ceil((1 + self._most_padding_at_end) * self.n_tokens / self._n_parallel))
        group = self._full_group(token_budget, is_end=is_end) or self._tail_group(token_budget, is_end=is_end)
        self._n_taken += group is not None
        return group

    def _lane(self, row: Row) -> deque[Row]:
        if row.n_tokens in self._full_lengths:
            return self._full.setdefault(row.n_tokens, deque())
        self._n_tail_tokens += row.n_tokens
        return self._tails.setdefault(0 if self._packs else row.n_tokens, deque())

    def _full_group(self, token_budget: int, *, is_end: bool) -> RowGroup | None:
        for length, lane in self._full.items():
            n_rows = 1 if self._padding == "single" else max(1, token_budget // length)
            if lane and (len(lane) >= n_rows * self._n_parallel or is_end or self._is_old(lane[0])):
                return RowGroup([lane.popleft() for _ in range(min(n_rows, len(lane)))])
        return None

    def _tail_group(self, token_budget: int, *, is_end: bool) -> RowGroup | None:
        if not self._n_tail_tokens:
            return None
        oldest = min((lane for lane in self._tails.values() if lane), key=lambda lane: lane[0].born)
        n_batches = self._n_parallel if self._packs or self._padding == "single" else LOOK_AHEAD_BATCHES
        if not (is_end or self._n_tail_tokens >= n_batches * token_budget or self._is_old(oldest[0])):
            return None
        if self._packs:
            rows = list(_up_to(oldest, token_budget))
        else:
            rows = self._of_like_length(oldest[0].n_tokens, token_budget, self._most_padding_at_end if is_end else self._most_padding)
        self._n_tail_tokens -= sum(row.n_tokens for row in rows)
        return RowGroup(rows, is_packed=self._packs)

    def _of_like_length(self, width: int, token_budget: int, most_padding: float) -> list[Row]:
        """Rows of this width, and shorter ones as long as little is padded."""
        n_rows = 1 if self._padding == "single" else max(1, token_budget // width)
        rows: list[Row] = []
        n_padding = 0
        shorter = (length for length in sorted(self._tails, reverse=True) if length < width)
        for length in (width, *(shorter if self._padding == "allowed" else ())):
            lane = self._tails[length]
            while lane and len(rows) < n_rows and n_padding + width - length <= most_padding * width * (len(rows) + 1):
                n_padding += width - length
                rows.append(lane.popleft())
            if not lane:
                del self._tails[length]
        return rows

    def _is_old(self, row: Row) -> bool:
        return self._n_taken - row.born > MOST_WAIT_BATCHES


def _up_to(lane: deque[Row], token_budget: int) -> Iterator[Row]:
    """Take rows in order until the next would be too much; the first goes in any case."""
    n_tokens = 0
    while lane and (not n_tokens or n_tokens + lane[0].n_tokens <= token_budget):
        n_tokens += lane[0].n_tokens
        yield lane.popleft()
