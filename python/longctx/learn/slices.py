"""The same metrics for some of the documents: those of similar length, those with the evidence at a similar place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.learn.metrics import flat_metrics
from longctx.learn.outcome import Outcome

LENGTH_EDGES_TOKENS = (512, 1024, 2048, 4096, 8192, 16384)
"""The most tokens that documents of each length have; the last length is open."""
N_PLACES = 5
"""Parts of a document in which its evidence may lie."""
_SHOWN = ("accuracy", "macro_f1", "mae")


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the documents: what they have in common, how many they are, accuracy and macro_f1 (regression: mae) for them."""

    name: str
    n_documents: int
    metrics: dict[str, float]


def by_length(outcome: Outcome) -> tuple[Slice, ...]:
    """Measure documents of similar length; nothing where lengths are not known, and no lengths that no document has."""
    if outcome.n_tokens is None:
        return ()
    index = np.searchsorted(LENGTH_EDGES_TOKENS, outcome.n_tokens)
    lower = [f"{edge + 1:,} to" for edge in LENGTH_EDGES_TOKENS]
    names = [f"{low} {edge:,} tokens" for low, edge in zip(["up to", *lower], LENGTH_EDGES_TOKENS, strict=False)]
    return _slices(outcome, index, [*names, f"more than {LENGTH_EDGES_TOKENS[-1]:,} tokens"])


def by_evidence(outcome: Outcome) -> tuple[Slice, ...]:
    """Measure documents whose decisive passage lies in the same fifth; leaves out those where its place is not known."""
    if outcome.evidence_at is None:
        return ()
    place = np.nan_to_num(outcome.evidence_at, nan=-1.0)
    index = np.where(place < 0, -1, np.minimum(place * N_PLACES, N_PLACES - 1).astype(np.int64))
    width = 100 // N_PLACES
    return _slices(outcome, index, [f"{width * i} to {width * (i + 1)} % of the document" for i in range(N_PLACES)])


def _slices(outcome: Outcome, index: NDArray[np.int64], names: Iterable[str]) -> tuple[Slice, ...]:
    chosen = ((name, index == i) for i, name in enumerate(names))
    return tuple(_slice(name, outcome.where(documents)) for name, documents in chosen if documents.any())


def _slice(name: str, outcome: Outcome) -> Slice:
    metrics = flat_metrics(outcome)
    return Slice(name, outcome.n_documents, {key: metrics[key] for key in _SHOWN if key in metrics})
