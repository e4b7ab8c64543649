"""Reads and chunks documents in a thread of its own, a bounded stretch ahead of the model, and fairly between long and short ones."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from longctx.chunking import Chunker, PlannedRows
from longctx.documents import groups
from longctx.errors import LongctxError

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch
    from longctx.inference.meter import Meter

T = TypeVar("T")

JOIN_SECONDS = 5.0
"""How long a closed reader is waited for. One that is stuck in the user's source is left behind; it ends when the source returns."""
AHEAD_DOCUMENTS = 4096
AHEAD_CHARS = 32_000_000
"""How far short documents may overtake a long one: their results wait for it, because results keep the order of the source."""
LONG_SLICES = 4
"""From so many slices of rows on, a group of documents shares the model with those behind it."""
LEAST_GROUP_CHARS, MOST_GROUP_CHARS = 500_000, 8_000_000
CHARS_PER_TOKEN = 4


class BackgroundReader(Generic[T]):
    """Runs an iterator in a thread and keeps what it gives, a few items ahead.

    Args:
        items: is only used in that thread.
        most_waiting: items that may wait; the thread sleeps meanwhile.
    """

    def __init__(self, items: Iterator[T], *, most_waiting: int) -> None:
        self._waiting: deque[T] = deque()
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_done = False
        self._error: BaseException | None = None
        # A daemon: the end of the program must not wait for a source that never returns.
        self._thread = threading.Thread(target=self._read, args=(items,), name="longctx-reader", daemon=True)
        _RUNNING.add(self)
        self._thread.start()

    def take(self, timeout_seconds: float | None = None) -> T | None:
        """Give the next item; None at the end, or where there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_done, timeout_seconds)
            if not self._waiting:
                return None
            self._changed.notify_all()
            return self._waiting.popleft()

    @property
    def is_done(self) -> bool:
        """True when nothing is waiting and nothing will come."""
        with self._changed:
            return self._is_done and not self._waiting

    def check(self) -> None:
        """Raise what ended the iterator, if it was an error."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading and end the thread."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(JOIN_SECONDS)
        _RUNNING.discard(self)

    def _read(self, items: Iterator[T]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not self._offer(item):
                    break
        except BaseException as caught:  # everything: whatever it is, it belongs to the caller
            error = caught
        del items
        with self._changed:
            self._error = error
            self._is_done = True
            self._changed.notify_all()

    def _offer(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._most_waiting or self._is_closed)
            if not self._is_closed:
                self._waiting.append(item)
                self._changed.notify_all()
            return not self._is_closed


_RUNNING: weakref.WeakSet[BackgroundReader[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the interpreter is taken apart: a thread that comes back from Rust afterwards would find none."""
    for reader in list(_RUNNING):
        reader.close()


class _Open:
    """A group of documents of which rows are still to be written."""

    def __init__(self, planned: PlannedRows) -> None:
        self._planned = planned
        self._n_written = 0

    @property
    def n_left(self) -> int:
        """Rows that are still to be written."""
        return self._planned.n_rows - self._n_written

    def write(self, n_rows: int) -> ChunkBatch:
        """Give the next rows."""
        start, self._n_written = self._n_written, min(self._n_written + n_rows, self._planned.n_rows)
        return self._planned.batch(start, self._n_written)


class FairSlices:
    """Slices of rows of any number of documents: in order, but a long document takes turns with those behind it.

    Args:
        chunker: cuts them.
        documents: iterated once.
        max_rows: rows of a slice.
        meter: is told how long reading and chunking took.
    """

    def __init__(self, chunker: Chunker, documents: Any, *, max_rows: int, meter: Meter) -> None:
        self._chunker = chunker
        self._max_rows = max_rows
        self._meter = meter
        self._most_chars = min(max(CHARS_PER_TOKEN * max_rows * chunker.max_tokens, LEAST_GROUP_CHARS), MOST_GROUP_CHARS)
        self._groups = groups(documents, max_documents=max_rows, max_chars=self._most_chars)
        self._held: list[Any] | None = None
        self._n_planned = 0
        self._broken: LongctxError | None = None

    def __iter__(self) -> Iterator[ChunkBatch]:
        while (group := self._next_group()) is not None:
            opened = self._plan(group)
            if opened.n_left > LONG_SLICES * self._max_rows:
                yield from self._share(opened)
            else:
                yield from self._rest(opened)
        if self._broken is not None:
            raise self._broken

    def _share(self, long: _Open) -> Iterator[ChunkBatch]:
        """Slices of a long group in turns with slices of the groups behind it, as far ahead as results may wait."""
        behind: _Open | None = None
        n_documents, n_chars = 0, 0
        while long.n_left:
            yield self._write(long)
            if behind is None and n_documents < AHEAD_DOCUMENTS and n_chars < AHEAD_CHARS:
                group = self._next_group()
                if group is not None and _n_chars(group) > 2 * self._most_chars:
                    self._held, group = group, None  # a second giant waits: two at once would take twice the memory
                if group is not None:
                    n_documents, n_chars = n_documents + len(group), n_chars + _n_chars(group)
                    behind = self._plan(group)
            if behind is not None and behind.n_left:
                yield self._write(behind)
            behind = behind if behind is not None and behind.n_left else None
        if behind is not None:
            yield from self._rest(behind)

    def _rest(self, opened: _Open) -> Iterator[ChunkBatch]:
        while opened.n_left:
            yield self._write(opened)

    def _next_group(self) -> list[Any] | None:
        if self._held is not None:
            group, self._held = self._held, None
            return group
        if self._broken is not None:
            return None
        with self._meter.timed("reading"):
            return next(self._groups, None)

    def _plan(self, group: list[Any]) -> _Open:
        first = self._n_planned
        self._n_planned += len(group)
        with self._meter.timed("chunking"):
            try:
                return _Open(self._chunker.plan(group, first))
            except LongctxError as error:
                self._broken = error
                return _Open(self._chunker.plan(group[: self._n_sound(group)], first))

    def _n_sound(self, group: list[Any]) -> int:
        """Documents before the broken one: they get their results first."""
        for n_documents, document in enumerate(group):
            try:
                self._chunker.plan([document])
            except LongctxError:
                return n_documents
        return 0

    def _write(self, opened: _Open) -> ChunkBatch:
        with self._meter.timed("chunking"):
            return opened.write(self._max_rows)


def _n_chars(group: list[Any]) -> int:
    return sum(len(document) for document in group if isinstance(document, str | bytes))
