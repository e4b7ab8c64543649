"""A run from documents to predictions: reads ahead, keeps the device busy, and decides each document when its last row is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from longctx.inference.decisions import decide
from longctx.inference.documents import DocumentCollector, TextTap
from longctx.inference.flow import RowFlow
from longctx.inference.meter import Meter
from longctx.inference.reading import BackgroundReader, FairSlices

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch
    from longctx.inference.progress import Progress
    from longctx.inference.tasks import Task
    from longctx.results import Prediction
    from longctx.run_stats import RunStats

BATCHES_PER_SLICE = 8
"""Rows that are written and handed over together, in batches of the token budget."""
SLICES_AHEAD = 2
"""Slices that wait for the model. Each is worth seconds on a CPU, and hides that much of a slow source."""
PATIENCE_SECONDS = 0.02
"""How long rows that are no full batch wait for more before they are run as they are, rather than leave the device idle."""
DECIDED_TOGETHER = 256


class DocumentRun:
    """One pass over documents. Iterate it once; ``close`` it where that may end early.

    Args:
        task: what is asked of which model.
        documents: any iterable of documents.
        progress: is told what is done.
        explain: as for ``decide``.
    """

    def __init__(self, task: Task, documents: Any, *, progress: Progress, explain: bool) -> None:
        self._task = task
        self._progress = progress
        self._explain = explain
        self._meter = Meter()
        self._texts = TextTap(documents)
        self._collector = DocumentCollector(self._texts)
        runner, chunker = task.runner, task.chunker
        self._flow = RowFlow(runner, runner.new_pool(task.full_lengths, chunker.padding_side), self._meter)
        rows_per_batch = max(1, runner.token_budget // chunker.max_tokens)
        slices = FairSlices(chunker, self._texts, max_rows=BATCHES_PER_SLICE * rows_per_batch, meter=self._meter)
        self._slices = iter(slices)

    def stats(self) -> RunStats:
        """Say what was done so far, and how long it took."""
        backend = self._task.runner.backend
        return self._meter.stats(self._task.runner.device, getattr(backend, "model", None))

    def __iter__(self) -> Iterator[Prediction]:
        with closing(self._flow), closing(BackgroundReader(self._slices, most_waiting=SLICES_AHEAD)) as reader:
            is_end = False
            while True:
                if not self._flow.step(is_end=is_end):
                    if is_end:
                        break
                    is_end = not self._add_rows(reader)
                yield from self._decided()
            # Only now: what was read before an error has its results.
            reader.check()
            self._texts.check()

    def _add_rows(self, reader: BackgroundReader[ChunkBatch]) -> bool:
        """Take a slice of rows, or run what there is while none comes; False at the end."""
        with self._meter.timed("waiting"):
            batch = reader.take(PATIENCE_SECONDS)
        if batch is None and not reader.is_done and not self._flow.step(is_end=True):
            with self._meter.timed("waiting"):
                batch = reader.take()
        if batch is not None:
            self._collector.expect(self._flow.add(self._task.ask(batch)))
        return batch is not None or not reader.is_done

    def _decided(self) -> Iterator[Prediction]:
        """Predictions of the documents that have become complete."""
        pieces = self._flow.complete()
        for piece in pieces:
            self._progress.chunks_read(piece.n_rows)
            with self._meter.timed("aggregating"):
                self._collector.add(piece)
        documents = self._collector.complete()
        while pieces:
            with self._meter.timed("aggregating"):
                together = list(islice(documents, 1 if self._task.runner.deterministic else DECIDED_TOGETHER))
                predictions = decide(together, self._task, explain=self._explain)
            if not predictions:
                break
            self._meter.documents += len(predictions)
            yield from predictions
