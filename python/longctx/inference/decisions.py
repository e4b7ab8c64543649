"""From the values of a document's chunks to its prediction, with the evidence beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longctx.inference.documents import DocumentRows, same_chunk_count
from longctx.results import ChunkEvidence, Label, Prediction

if TYPE_CHECKING:
    from longctx.inference.tasks import Task

LEAVE_ONE_OUT_BLOCK = 64
"""Documents-without-a-chunk that are aggregated at a time."""
MULTI_LABEL_THRESHOLD = 0.5
STACKED_BYTES = 64_000_000
"""Values of documents that are decided together; one that has more is decided alone."""


def decide(documents: Sequence[DocumentRows], task: Task, *, explain: bool) -> list[Prediction]:
    """Make one prediction per document, in their order; ``explain`` makes a chunk's score its exact leave-one-out drop."""
    predictions: dict[int, Prediction] = {}
    with torch.inference_mode():
        for positions in _groups(documents):
            group = [documents[position] for position in positions]
            predictions |= zip(positions, _decide_group(group, task, explain=explain), strict=True)
    return [predictions[position] for position in range(len(documents))]


def _groups(documents: Sequence[DocumentRows]) -> Iterator[list[int]]:
    """Positions of documents with the same number of chunks, not too many at a time: they are stacked."""
    for positions in same_chunk_count(documents).values():
        together = max(1, STACKED_BYTES // max(1, documents[positions[0]].values.nbytes))
        yield from (positions[start : start + together] for start in range(0, len(positions), together))


def _decide_group(documents: list[DocumentRows], task: Task, *, explain: bool) -> list[Prediction]:
    """Documents with the same number of chunks, so that they stack without padding."""
    values = torch.from_numpy(np.stack([_values(document, task) for document in documents]))
    fresh = torch.from_numpy(np.stack([document.fresh_tokens for document in documents]))
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    document_values = task.aggregator(values, mask, fresh)
    weights = task.aggregator.weights(values, mask, fresh)
    probabilities = task.probabilities(document_values)
    chunk_probabilities = task.probabilities(task.aggregator.alone(values))
    predictions = []
    for i, document in enumerate(documents):
        column = _told_column(probabilities[i], task)
        scores = chunk_probabilities[i, :, column]
        if explain:
            scores = _leave_one_out(values[i], fresh[i], probabilities[i, column], column, task)
        predictions.append(_prediction(document, probabilities[i], scores, weights[i, :, column], task))
    return predictions


def _values(document: DocumentRows, task: Task) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if task.blank_is_neutral and document.coverage.tokens == 0:
        return np.zeros_like(document.values)
    return document.values


def _told_column(probabilities: Tensor, task: Task) -> int:
    """Pick the label that the chunks' scores and weights are about: the most probable one; a regression's first value."""
    return 0 if task.problem == "regression" else int(probabilities.argmax())


def _leave_one_out(values: Tensor, fresh: Tensor, whole: Tensor, column: int, task: Task) -> Tensor:
    """How much the document's probability drops without each chunk, ``(n_chunks,)``.

    The only chunk of a document leaves nothing to compare with; its score is the whole probability.
    """
    n_chunks = len(values)
    if n_chunks == 1:
        return whole.reshape(1)
    drops = []
    for start in range(0, n_chunks, LEAVE_ONE_OUT_BLOCK):
        left_out = torch.arange(start, min(start + LEAVE_ONE_OUT_BLOCK, n_chunks))
        mask = torch.ones(len(left_out), n_chunks, dtype=torch.bool)
        mask[torch.arange(len(left_out)), left_out] = False
        rest = task.aggregator(values.expand(len(left_out), -1, -1), mask, fresh.expand(len(left_out), -1))
        drops.append(whole - task.probabilities(rest)[:, column])
    return torch.cat(drops)


def _prediction(document: DocumentRows, probabilities: Tensor, scores: Tensor, weights: Tensor, task: Task) -> Prediction:
    label, score = _label(probabilities.tolist(), task)
    named = {} if task.problem == "regression" else dict(zip(task.labels, probabilities.tolist(), strict=True))
    columns = (document.char_spans.tolist(), document.token_spans.tolist(), scores.tolist(), weights.tolist())
    chunks = tuple(
        ChunkEvidence((start, end), (first, last), document.text[start:end], chunk_score, weight)
        for (start, end), (first, last), chunk_score, weight in zip(*columns, strict=True)
    )
    return Prediction(label, score, named, document.coverage, chunks)


def _label(probabilities: list[float], task: Task) -> tuple[Label, float]:
    best = max(probabilities)
    if task.problem == "multi_label":
        named = zip(task.labels, probabilities, strict=True)
        return [name for name, probability in named if probability >= MULTI_LABEL_THRESHOLD], best
    if task.problem == "regression":
        return (probabilities[0] if len(probabilities) == 1 else probabilities), probabilities[0]
    return task.labels[probabilities.index(best)], best
