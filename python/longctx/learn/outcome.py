"""What a model said about labelled documents: all that metrics, intervals and reports are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError, ModelError
from longctx.results import Problem

THRESHOLD = 0.5
"""From this probability on a label of a multi-label problem counts as given."""
_ROUNDING = 1e-3  # softmax in half precision may exceed 1 a little


@dataclass(frozen=True, eq=False)  # arrays have no equality that is one bool
class Outcome:
    """The scores a model gave to labelled documents, with the truth.

    Attributes:
        problem: "single_label", "multi_label" or "regression".
        labels: their names, all different.
        scores: float32 ``(n_documents, n_labels)``: probabilities; the values for regression.
        truth: single_label: int64 ``(n_documents,)``, numbers of classes; multi_label: bool ``(n_documents, n_labels)``;
            regression: float64 ``(n_documents, n_labels)``.
        n_tokens: int64 ``(n_documents,)``, the documents' lengths in tokens; None where nobody counted.
        evidence_at: float32 ``(n_documents,)``, where in its document the decisive passage lies, 0 is the beginning and 1 the
            end, NaN where it is not known for a document; None where it is for none.

    Raises:
        ConfigError: an array has another shape, or holds what it may not.
        ModelError: scores that are no numbers, or no probabilities where there should be.
    """

    problem: Problem
    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    truth: NDArray[Any]
    n_tokens: NDArray[np.int64] | None = None
    evidence_at: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check_labels(self)
        _check_shapes(self)
        _check_truth(self)
        _check_scores(self)

    @property
    def n_documents(self) -> int:
        """How many documents there are."""
        return len(self.scores)

    @cached_property
    def decisions(self) -> NDArray[Any]:
        """What the scores say, in the form of ``truth``: the most probable class, labels from 0.5 on, or the values."""
        if self.problem == "single_label":
            return np.asarray(self.scores.argmax(axis=1))
        if self.problem == "multi_label":
            return np.asarray(self.scores >= THRESHOLD)
        return self.scores.astype(np.float64)

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Bool ``(n_documents,)``: the class is right, or all labels are; no question for regression."""
        right = np.equal(self.decisions, self.truth).reshape(self.n_documents, -1)
        return np.asarray(right.all(axis=1))

    def where(self, chosen: NDArray[np.bool_]) -> Outcome:
        """Keep the documents at which ``chosen``, bool ``(n_documents,)``, is true."""
        arrays = ("scores", "truth", "n_tokens", "evidence_at")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays if getattr(self, name) is not None})


def _check_labels(outcome: Outcome) -> None:
    if outcome.problem not in ("single_label", "multi_label", "regression"):
        raise ConfigError(f"problem={outcome.problem!r} is not known; use 'single_label', 'multi_label' or 'regression'")
    if len(set(outcome.labels)) != len(outcome.labels):
        raise ConfigError("some labels have the same name; give each its own")


def _check_shapes(outcome: Outcome) -> None:
    n_documents, n_labels = len(outcome.scores), len(outcome.labels)
    if n_documents == 0 or n_labels == 0:
        raise ConfigError(f"{n_documents} documents with {n_labels} labels: there is nothing to measure; give at least one of each")
    truth_shape = (n_documents,) if outcome.problem == "single_label" else (n_documents, n_labels)
    shapes = {"scores": (n_documents, n_labels), "truth": truth_shape, "n_tokens": (n_documents,), "evidence_at": (n_documents,)}
    for name, shape in shapes.items():
        array = getattr(outcome, name)
        if array is not None and array.shape != shape:
            raise ConfigError(f"{name} has the shape {array.shape}; {n_documents} documents and {n_labels} labels need {shape}")


def _check_truth(outcome: Outcome) -> None:
    kind, name = {"single_label": ("iu", "whole numbers"), "multi_label": ("b", "bools")}.get(outcome.problem, ("f", "floats"))
    truth = outcome.truth
    if truth.dtype.kind not in kind:
        raise ConfigError(f"the truth of a {outcome.problem} problem is an array of {name}; this one is {truth.dtype}")
    if outcome.problem == "single_label" and (truth.min() < 0 or truth.max() >= len(outcome.labels)):
        raise ConfigError(f"the truth has class {truth.min()} to {truth.max()}; {len(outcome.labels)} labels allow 0 to one less")
    if outcome.problem == "regression" and not np.isfinite(truth).all():
        raise ConfigError("the truth has values that are not finite; leave those documents out")


def _check_scores(outcome: Outcome) -> None:
    scores = outcome.scores
    if not np.isfinite(scores).all():
        raise ModelError("some scores are not finite numbers; the model has diverged, or its inputs were not finite")
    if outcome.problem != "regression" and (scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING):
        raise ModelError(f"scores lie between {scores.min():.3g} and {scores.max():.3g}; give probabilities, not logits")
