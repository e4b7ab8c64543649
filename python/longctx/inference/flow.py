"""Rows of chunk batches through the model and back: each distinct row is read once, and a batch is done when all of its rows are."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ModelError
from longctx.inference.backends.fused import KEPT_MEMORY
from longctx.inference.meter import Meter
from longctx.inference.planning import Row, RowGroup, RowPool
from longctx.inference.workers import Workers

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch
    from longctx.inference.loop import PendingValues, RowRunner

REMEMBERED_BYTES = 32_000_000
"""Ids and values of rows that are kept to find a row again: some 15,000 rows of 512."""
MOST_UNFINISHED = 16
"""Pieces that may wait for values: where all new rows are equal to waiting ones, no batch would ever be full."""


class Piece:
    """A chunk batch whose values are being made.

    Attributes:
        batch: document numbers, spans and coverage of the rows. Its ``input_ids`` are let go with its last waiting row.
        values: float32 ``(n_rows, n_questions * d)``; None until the first row is read.
        n_missing: values that are still to come.
        first_row: where in its document the first row belongs.
    """

    def __init__(self, batch: ChunkBatch, n_questions: int) -> None:
        self.document_index = batch.document_index
        self.token_spans = batch.token_spans
        self.char_spans = batch.char_spans
        self.fresh_tokens = batch.fresh_tokens
        self.coverage = batch.coverage
        self.n_rows = batch.n_rows
        self.first_row = 0
        self.n_missing = batch.n_rows * n_questions
        self.values: NDArray[np.float32] | None = None
        self._n_questions = n_questions

    def put(self, row: int, question: int, values: NDArray[Any]) -> None:
        """Write what one row gave for one question."""
        d = len(values)
        if self.values is None:
            self.values = np.empty((self.n_rows, self._n_questions * d), np.float32)
        self.values[row, question * d : (question + 1) * d] = values
        self.n_missing -= 1

    def refuse(self, row: int) -> NoReturn:
        """Say which row it was that the model gave no numbers for."""
        start, end = (int(edge) for edge in self.token_spans[row])
        raise ModelError(
            f"The model gave NaN or infinite values for document {int(self.document_index[row])} "
            f"(tokens {start}-{end}); with dtype='float16' use 'float32' or 'bfloat16', else check the checkpoint."
        )


class RowFlow:
    """Takes chunk batches, runs their rows in batches of its own choosing, and gives back the pieces that are complete.

    Args:
        runner: runs a group of rows.
        pool: decides on the groups.
        meter: is told what was done.
    """

    def __init__(self, runner: RowRunner, pool: RowPool, meter: Meter) -> None:
        self._runner = runner
        self._pool = pool
        self._meter = meter
        self._workers = Workers(runner.n_parallel)
        self._known: OrderedDict[tuple[int, bytes], Row] = OrderedDict()
        self._late: deque[tuple[RowGroup, PendingValues]] = deque()
        self._complete: list[Piece] = []
        self._n_unfinished = 0
        self._n_started = 0  # groups, since all pieces were complete
        self._bytes_of_values = 500

    def add(self, batches: Sequence[ChunkBatch]) -> Piece:
        """Take the rows of one batch, asked as many questions as there are batches: the same chunks, other fixed tokens."""
        piece = Piece(batches[0], len(batches))
        if not self._n_unfinished:
            self._n_started = 0
        self._n_unfinished += 1
        for question, batch in enumerate(batches):
            self._runner.check_ids(batch)
            types = batch.token_type_ids if self._runner.takes_types else None
            for number in range(batch.n_rows):
                self._add_row(piece, number, question, batch, types)
        if piece.n_missing == 0:
            self._complete.append(piece)
        return piece

    def step(self, *, is_end: bool) -> bool:
        """Run one group; False when more rows are needed for one, or, with ``is_end``, when everything is read."""
        is_end = is_end or self._n_unfinished >= MOST_UNFINISHED
        group = self._pool.take(self._runner.token_budget, is_end=is_end)
        if group is None:
            is_late = self._has_values or (is_end and bool(self._late))
            if is_late:
                self._fetch()
            return is_late
        with self._meter.computing():
            pending = self._runner.start(group, self._workers_for(group))
        self._n_started += 1
        if pending is None:
            self._ran_out_of_memory(group, had_company=bool(self._late))
            return True
        self._late.append((group, pending))
        while self._has_values or len(self._late) > self._runner.n_late:
            self._fetch()
        return True

    def close(self) -> None:
        """Wait for what is in work, end the threads that compute, and free what was kept for the next batch."""
        try:
            self._workers.close()
        finally:
            KEPT_MEMORY.release()

    def complete(self) -> list[Piece]:
        """Give the pieces that have become complete, once."""
        pieces, self._complete = self._complete, []
        self._n_unfinished -= len(pieces)
        return pieces

    def _add_row(self, piece: Piece, number: int, question: int, batch: ChunkBatch, types: NDArray[Any] | None) -> None:
        n_tokens = int(batch.lengths[number])
        columns = slice(batch.width - n_tokens, None) if batch.padding_side == "left" else slice(0, n_tokens)
        ids = batch.input_ids[number, columns]
        key = (question, ids.tobytes())  # the bytes themselves: a hash alone could take one row for another
        row = self._known.get(key)
        if row is None:
            row = Row(ids, None if types is None else types[number, columns], n_tokens, batch.layout)
            self._remember(key, row)
            self._pool.add(row)
        else:
            self._meter.duplicate_rows += 1
        if row.values is None:
            row.places.append((piece, number, question))
        else:
            piece.put(number, question, row.values)

    def _remember(self, key: tuple[int, bytes], row: Row) -> None:
        self._known[key] = row
        most_rows = max(1, REMEMBERED_BYTES // (len(key[1]) + self._bytes_of_values))
        while len(self._known) > most_rows:
            self._known.popitem(last=False)

    @property
    def _has_values(self) -> bool:
        """The oldest group in work has its values."""
        return bool(self._late) and self._late[0][1].are_there

    def _workers_for(self, group: RowGroup) -> Workers | None:
        """None: in the calling thread, whose threads a row that is all there is shall have for itself.

        The last of several is not all there is, also where the others happen to be done: with other threads it would have other last bits.
        """
        is_all = len(group.rows) == 1 and not self._n_started and not self._pool.n_tokens
        return None if is_all or self._runner.n_parallel == 1 else self._workers

    def _fetch(self) -> None:
        group, values = self._next_values()
        if values is None:
            self._ran_out_of_memory(group, had_company=True)
        else:
            self._put(group, values)

    def _next_values(self) -> tuple[RowGroup, NDArray[np.float32] | None]:
        group, pending = self._late.popleft()
        with self._meter.computing():
            values = pending.values()
        if values is not None:
            self._bytes_of_values = max(self._bytes_of_values, values.nbytes // len(values))
        return group, values

    def _ran_out_of_memory(self, group: RowGroup, *, had_company: bool) -> None:
        """Plan its rows again. Groups that were in work beside it fill the same memory: what fails of them counts as the same failure."""
        failed = [group]
        while self._late:
            beside, values = self._next_values()
            if values is None:
                failed.append(beside)
            else:
                self._put(beside, values)
        self._runner.shrink(max(failed, key=lambda one: one.n_tokens), had_company=had_company)
        for one in reversed(failed):
            self._pool.put_back(one)

    def _put(self, group: RowGroup, values: NDArray[np.float32]) -> None:
        self._meter.group_ran(group)
        is_finite = np.isfinite(values).all(axis=1)
        if not is_finite.all():
            piece, number, _ = group.rows[int(is_finite.argmin())].places[0]
            piece.refuse(number)
        for row, row_values in zip(group.rows, values, strict=True):
            # A copy, so that a remembered row does not keep its whole batch; ids are not needed again.
            row.ids, row.types, row.values = None, None, row_values.copy()
            for piece, number, question in row.places:
                piece.put(number, question, row_values)
                if piece.n_missing == 0:
                    self._complete.append(piece)
            row.places.clear()
