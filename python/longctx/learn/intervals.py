"""How far metrics would move with other documents: 95 % intervals by the bootstrap, and differences of models on the same documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError
from longctx.learn.extras import train_extra
from longctx.learn.metrics import flat_metrics, is_constant
from longctx.learn.outcome import Outcome

LEVEL = 0.95
"""Share of the resamples that lie in an interval."""
_BATCH_CELLS = 4_000_000  # resamples times documents that are held at once: 32 MB
_ROUNDING = 1e-10

Values = NDArray[np.float64]
Resamples = dict[str, Values]
"""``{metric: float64 (n_resamples,)}``."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number measured on all documents, and the bounds between which 95 % of the resamples lie."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled_metrics(outcome: Outcome, *, n_resamples: int = 1000, seed: int = 0) -> Resamples:
    """Draw as many documents as there are, with replacement, again and again, and measure each time.

    The draw depends on the number of documents and the seed alone: two models' results for the same documents are paired.

    macro_f1 of a resample is a mean over the labels that occur in it. A label that occurs in no document counts 0 in every
    resample, as it does in the metric; one that this resample happens to lack does not, or the interval would lie below the
    metric wherever labels are rare.

    Returns:
        accuracy, macro_f1 and micro_f1, or mae, rmse and pearson: float64 ``(n_resamples,)``, NaN where one is not defined.
    """
    if n_resamples < 1:
        raise ConfigError(f"n_resamples={n_resamples} is not allowed; use at least 1, and 1000 for intervals")
    measure = _ValueMeasure(outcome) if outcome.problem == "regression" else _LabelMeasure(outcome)
    parts = [measure(weights) for weights in resample_weights(outcome.n_documents, n_resamples=n_resamples, seed=seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def intervals(outcome: Outcome, resamples: Resamples) -> dict[str, Interval]:
    """Put the metrics of all documents between the bounds of their resamples; what is not defined is left out."""
    metrics = flat_metrics(outcome)
    return _intervals({name: metrics[name] for name in resamples if name in metrics}, resamples)


def paired_differences(ours: tuple[Outcome, Resamples], theirs: tuple[Outcome, Resamples]) -> dict[str, Interval]:
    """Our metrics minus theirs, each resample's documents being the same for both."""
    metrics, other_metrics = flat_metrics(ours[0]), flat_metrics(theirs[0])
    estimates = {name: metrics[name] - other_metrics[name] for name in ours[1] if name in metrics and name in other_metrics}
    return _intervals(estimates, {name: ours[1][name] - theirs[1][name] for name in estimates})


def _intervals(estimates: Mapping[str, float], resamples: Resamples) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for name, estimate in estimates.items():
        values = resamples[name][np.isfinite(resamples[name])]
        if len(values):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            found[name] = Interval(estimate, float(low), float(high))
    return found


def resample_weights(n_documents: int, *, n_resamples: int, seed: int) -> Iterator[Values]:
    """Give how often each resample has each document: float64 ``(some resamples, n_documents)``, rows sum to ``n_documents``."""
    rng = np.random.default_rng(seed)
    most = max(1, _BATCH_CELLS // n_documents)
    for start in range(0, n_resamples, most):
        n = min(most, n_resamples - start)
        drawn = rng.integers(n_documents, size=(n, n_documents)) + np.arange(n)[:, None] * n_documents
        yield np.bincount(drawn.ravel(), minlength=n * n_documents).reshape(n, n_documents).astype(np.float64)


class _LabelMeasure:
    """Counts each label's hits and claims by products of sparse matrices; F1 is ``2 * hits / (in truth + in decisions)``."""

    def __init__(self, outcome: Outcome) -> None:
        truth, decisions = _indicator(outcome, outcome.truth), _indicator(outcome, outcome.decisions)
        self._hits, self._claims = truth * decisions, truth + decisions
        self._is_right = outcome.is_right.astype(np.float64)
        n_occurring = np.count_nonzero(self._claims.sum(axis=1))
        self._share_that_occurs = n_occurring / len(outcome.labels) if outcome.problem == "multi_label" else 1.0

    def __call__(self, weights: Values) -> Resamples:
        hits, claims = self._hits @ weights.T, self._claims @ weights.T
        f1 = 2 * hits / np.maximum(claims, 1)
        n_occurring = np.count_nonzero(claims, axis=0)
        return {
            "accuracy": weights @ self._is_right / weights.shape[1],
            "macro_f1": f1.sum(axis=0) / np.maximum(n_occurring, 1) * self._share_that_occurs,
            "micro_f1": 2 * hits.sum(axis=0) / np.maximum(claims.sum(axis=0), 1),
        }


def _indicator(outcome: Outcome, classes: NDArray[Any]) -> Any:
    """Sparse float64 ``(n_labels, n_documents)``: 1 where the document has the label."""
    with train_extra():
        from scipy.sparse import csr_array
    if outcome.problem == "multi_label":
        return csr_array(classes.T.astype(np.float64))
    documents = np.arange(outcome.n_documents)
    return csr_array((np.ones(outcome.n_documents), (classes, documents)), shape=outcome.scores.T.shape)


class _ValueMeasure:
    """Means of errors and moments, of which all metrics of values are made."""

    def __init__(self, outcome: Outcome) -> None:
        truth, values = outcome.truth, outcome.decisions
        self._error = np.abs(values - truth)
        self._x, self._y = _standardized(truth), _standardized(values)

    def __call__(self, weights: Values) -> Resamples:
        shares = weights / weights.shape[1]
        x, y = shares @ self._x, shares @ self._y
        spread = (_spread(shares @ self._x**2, x) * _spread(shares @ self._y**2, y)) ** 0.5
        return {
            "mae": (shares @ self._error).mean(axis=1),
            "rmse": np.sqrt(shares @ self._error**2).mean(axis=1),
            "pearson": ((shares @ (self._x * self._y) - x * y) / spread).mean(axis=1),
        }


def _standardized(values: Values) -> Values:
    """Mean 0 and spread 1 for each column, so that sums of squares keep their digits; a constant column becomes 0."""
    spread = np.array([1.0 if is_constant(column) else column.std() for column in values.T])
    return np.where([is_constant(column) for column in values.T], 0.0, (values - values.mean(axis=0)) / spread)


def _spread(mean_square: Values, mean: Values) -> Values:
    """Variances; NaN where a resample has a single value, so that nothing correlates with it."""
    variance = mean_square - mean**2
    return np.where(variance > _ROUNDING * np.maximum(mean_square, 1), variance, np.nan)
