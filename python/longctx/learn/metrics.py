"""How good decisions and values are, and whether probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.learn.extras import train_extra
from longctx.learn.outcome import Outcome

N_BINS = 15
"""Bins of equal width in which probabilities are compared with what happened."""
_PRECISION_AT = (1, 5)
_ROUNDING = 1e-9  # a spread this small, relative to the values, is rounding

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of similar probability: their mean probability, the share of them that is right, how many they are."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from what happened.

    Attributes:
        expected_error: expected calibration error: the distance between confidence and accuracy, a mean over the bins by count.
        brier: the Brier score: squared distance between probabilities and truth, summed over the classes of a single-label
            problem (0 to 2) and a mean over the labels of a multi-label problem (0 to 1).
        bins: those of the 15 bins of equal width that are not empty, by rising confidence.
    """

    expected_error: float
    brier: float
    bins: tuple[Bin, ...]


def flat_metrics(outcome: Outcome) -> dict[str, float]:
    """Measure quickly, for a training loop; what is not defined is left out.

    Macro-F1 and its like are scikit-learn's ``f1_score(truth, decisions, average="macro", zero_division=0)``: a mean over the
    classes that occur in truth or decisions, and, for multi-label problems, over all labels, 0 for those that never occur.

    Returns:
        accuracy (multi_label: all labels right), top_1 (the most probable label is right), macro and micro F1, precision and
        recall; multi_label: also precision_at_1 and precision_at_5, where there are that many labels;
        regression: mae, rmse, r2, pearson and spearman, means over the values.
    """
    if outcome.problem == "regression":
        return {name: value for name, value in _value_means(outcome).items() if value is not None}
    top = {f"precision_at_{k}": _precision_at(outcome, k) for k in _PRECISION_AT if k <= len(outcome.labels)}
    more = top if outcome.problem == "multi_label" else {}
    return {"accuracy": float(outcome.is_right.mean()), "top_1": top["precision_at_1"]} | _averages(outcome) | more


def all_metrics(outcome: Outcome) -> dict[str, float | None]:
    """:func:`flat_metrics` with None for what is not defined, and, for multi-label problems, label_ranking_average_precision."""
    if outcome.problem == "regression":
        return _value_means(outcome)
    if outcome.problem == "single_label":
        return {**flat_metrics(outcome)}
    with train_extra():
        from sklearn.metrics import label_ranking_average_precision_score
    ranked = float(label_ranking_average_precision_score(outcome.truth, outcome.scores))
    return {**flat_metrics(outcome), "label_ranking_average_precision": ranked}


def per_class(outcome: Outcome) -> dict[str, dict[str, float | None]]:
    """Measure each label alone: precision, recall, f1 and support (documents that have it); regression: the metrics of each value."""
    if outcome.problem == "regression":
        columns = zip(outcome.truth.T, outcome.decisions.T, strict=True)
        return {label: _value_metrics(truth, values) for label, (truth, values) in zip(outcome.labels, columns, strict=True)}
    truth, decisions, labels = _for_sklearn(outcome)
    if outcome.problem == "single_label":
        labels = np.arange(len(outcome.labels))
    precision, recall, f1, support = _scores(truth, decisions, labels, average=None)
    names = ("precision", "recall", "f1", "support")
    rows = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return {label: dict(zip(names, row, strict=True)) for label, row in zip(outcome.labels, rows, strict=True)}


def calibration(outcome: Outcome) -> Calibration | None:
    """Compare probabilities with what happened; None for regression.

    single_label: the probability of the class that was decided, and whether it is right. multi_label: the probability of every
    label of every document, and whether the document has it.
    """
    if outcome.problem == "regression":
        return None
    scores = outcome.scores.astype(np.float64)
    if outcome.problem == "multi_label":
        return _calibration(scores.ravel(), outcome.truth.ravel(), brier=float(np.mean((scores - outcome.truth) ** 2)))
    of_truth = scores[np.arange(len(scores)), outcome.truth]
    brier = float(np.mean((scores**2).sum(axis=1) - 2 * of_truth + 1))
    return _calibration(scores.max(axis=1), outcome.is_right, brier=brier)


def _calibration(confidence: Values, is_right: NDArray[np.bool_], *, brier: float) -> Calibration:
    index = np.clip((confidence * N_BINS).astype(np.int64), 0, N_BINS - 1)
    count = np.bincount(index, minlength=N_BINS)
    filled = count > 0
    sums = [np.bincount(index, weights=weights, minlength=N_BINS)[filled] for weights in (confidence, is_right)]
    count = count[filled]
    expected, observed = sums[0] / count, sums[1] / count
    error = float(np.abs(expected - observed) @ count / count.sum())
    return Calibration(error, brier, tuple(map(Bin, expected.tolist(), observed.tolist(), count.tolist())))


def _averages(outcome: Outcome) -> dict[str, float]:
    truth, decisions, labels = _for_sklearn(outcome)
    averages: dict[str, float] = {}
    for average in ("macro", "micro"):
        precision, recall, f1, _ = _scores(truth, decisions, labels, average=average)
        averages |= {f"{average}_f1": float(f1), f"{average}_precision": float(precision), f"{average}_recall": float(recall)}
    return averages


def _for_sklearn(outcome: Outcome) -> tuple[NDArray[Any], NDArray[Any], list[int] | NDArray[np.int64] | None]:
    """Truth, decisions and the labels to average over; scikit-learn takes a table of one column for a problem of two classes."""
    truth, decisions = outcome.truth, outcome.decisions
    if outcome.problem == "multi_label" and len(outcome.labels) == 1:
        return truth.ravel(), decisions.ravel(), [1]
    return truth, decisions, None


def _scores(truth: NDArray[Any], decisions: NDArray[Any], labels: Any, *, average: str | None) -> Any:
    with train_extra():
        from sklearn.metrics import precision_recall_fscore_support
    return precision_recall_fscore_support(truth, decisions, labels=labels, average=average, zero_division=0)


def _precision_at(outcome: Outcome, k: int) -> float:
    """Take the k most probable labels of each document: the share of them that is right."""
    top = outcome.scores.argpartition(-k, axis=1)[:, -k:] if k > 1 else outcome.scores.argmax(axis=1)[:, None]
    if outcome.problem == "single_label":
        return float((top == outcome.truth[:, None]).sum(axis=1).mean() / k)
    return float(np.take_along_axis(outcome.truth, top, axis=1).mean())


def _value_means(outcome: Outcome) -> dict[str, float | None]:
    """Average each metric over the values; None where it is not defined for one of them."""
    columns = list(per_class(outcome).values())
    means: dict[str, float | None] = {}
    for name in columns[0]:
        values = [value for column in columns if (value := column[name]) is not None]
        means[name] = float(np.mean(values)) if len(values) == len(columns) else None
    return means


def _value_metrics(truth: Values, values: Values) -> dict[str, float | None]:
    """Compare two float64 ``(n_documents,)``; None where a correlation or r2 is not defined, because all values are the same."""
    with train_extra():
        from scipy.stats import pearsonr, spearmanr
        from sklearn.metrics import r2_score
    error = values - truth
    vary = not (is_constant(truth) or is_constant(values))
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "r2": None if is_constant(truth) else float(r2_score(truth, values)),
        "pearson": float(pearsonr(truth, values).statistic) if vary else None,
        "spearman": float(spearmanr(truth, values).statistic) if vary else None,
    }


def is_constant(values: Values) -> bool:
    """Tell whether values differ by no more than rounding, so that nothing can correlate with them."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())
