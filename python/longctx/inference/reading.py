"""Reads and chunks documents in a thread of its own, a bounded stretch ahead of the model, and fairly between long and short ones."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from longctx.chunking import Chunker, PlannedRows
from longctx.documents import groups
from longctx.errors import LongctxError

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch
    from longctx.inference.meter import Meter

T = TypeVar("T")

JOIN_SECONDS = 2.0
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
        self._planned: PlannedRows | None = planned
        self._n_rows = planned.n_rows
        self._n_written = 0

    @property
    def n_left(self) -> int:
        """Rows that are still to be written."""
        return self._n_rows - self._n_written

    def write(self, most_rows: int) -> ChunkBatch | None:
        """Give the next rows; None when all are written."""
        if self._planned is None or not self.n_left:
            return None
        start, self._n_written = self._n_written, min(self._n_written + most_rows, self._n_rows)
        batch = self._planned.batch(start, self._n_written)
        if not self.n_left:
            self._planned = None  # the tokens of a long document are worth gigabytes
        return batch


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
        self._held: deque[list[Any]] = deque()
        self._n_planned = 0
        self._n_ahead_documents, self._n_ahead_chars = 0, 0
        self._broken: LongctxError | None = None

    def __iter__(self) -> Iterator[ChunkBatch]:
        while (opened := self._open_next()) is not None:
            if opened.n_left > LONG_SLICES * self._max_rows:
                yield from self._share(opened)
            else:
                yield from self._rest(opened)
        if self._broken is not None:
            raise self._broken

    def _share(self, long: _Open) -> Iterator[ChunkBatch]:
        """Slices of a long group in turns with slices of the groups behind it, as far ahead as results may wait."""
        behind: _Open | None = None
        self._n_ahead_documents, self._n_ahead_chars = 0, 0
        while (batch := self._write(long)) is not None:
            yield batch
            if behind is None and self._n_ahead_documents < AHEAD_DOCUMENTS and self._n_ahead_chars < AHEAD_CHARS:
                behind = self._open_next(most_chars=2 * self._most_chars)  # of two giants at once both would take memory
            batch = None if behind is None else self._write(behind)
            if batch is None:
                behind = None
            else:
                yield batch
        if behind is not None:
            yield from self._rest(behind)

    def _rest(self, opened: _Open) -> Iterator[ChunkBatch]:
        while (batch := self._write(opened)) is not None:
            yield batch

    def _open_next(self, most_chars: int | None = None) -> _Open | None:
        """Plan the next group of documents; None at the end, or while the next one has more than ``most_chars``."""
        group = self._next_group()
        if group is None:
            return None
        n_chars = sum(len(document) for document in group if isinstance(document, str | bytes))
        if most_chars is not None and n_chars > most_chars:
            self._held.appendleft(group)
            return None
        self._n_ahead_documents += len(group)
        self._n_ahead_chars += n_chars
        return self._plan(group)

    def _next_group(self) -> list[Any] | None:
        if not self._held and self._broken is None:
            with self._meter.timed("reading"):
                group = next(self._groups, None)
            self._held.extend(() if group is None else _long_ones_apart(group, LONG_SLICES * self._max_rows * self._chunker.max_tokens))
        return self._held.popleft() if self._held and self._broken is None else None

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

    def _write(self, opened: _Open) -> ChunkBatch | None:
        with self._meter.timed("chunking"):
            return opened.write(self._max_rows)


def _long_ones_apart(group: list[Any], long_chars: int) -> Iterator[list[Any]]:
    """Split a group around its long documents, which would hold up the others of the group."""
    is_long = [isinstance(document, str | bytes) and len(document) > long_chars for document in group]
    for is_run_long, run in groupby(zip(is_long, group, strict=True), key=itemgetter(0)):
        documents = [document for _, document in run]
        yield from ([document] for document in documents) if is_run_long else (documents,)
