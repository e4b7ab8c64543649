"""The losses of the three problems, with class weights and label smoothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from longctx.errors import ConfigError
from longctx.results import Problem

ClassWeights = Mapping[str, float] | Literal["balanced"] | None
MOST_WEIGHT = 100.0
"""Of a balanced multi-label problem: a label that stands in one document of ten thousand would drown the others."""


def loss_of(values: Tensor, truth: Tensor, problem: Problem, *, weights: Tensor | None, smoothing: float) -> Tensor:
    """Mean loss of values ``(n_documents, n_labels)``.

    Args:
        values: logits, or the values of a regression.
        truth: int64 ``(n_documents,)`` for a single label, else float ``(n_documents, n_labels)``.
        problem: cross-entropy, binary cross-entropy of each label, or squared error.
        weights: ``(n_labels,)``: of the classes, or of the positive side of each label.
        smoothing: share of the truth that is spread over the classes, or of each label over yes and no.
    """
    weights = None if weights is None else weights.to(values)
    if problem == "single_label":
        return functional.cross_entropy(values, truth, weight=weights, label_smoothing=smoothing)
    truth = truth.to(values)
    if problem == "regression":
        return functional.mse_loss(values, truth)
    return functional.binary_cross_entropy_with_logits(values, truth * (1 - smoothing) + smoothing / 2, pos_weight=weights)


def class_weights(asked: ClassWeights, truth: NDArray[Any], labels: tuple[str, ...], problem: Problem) -> Tensor | None:
    """Float32 ``(n_labels,)``, in the order of ``labels``; None for none.

    Args:
        asked: ``{label: weight}`` (1 for labels that are not named), or "balanced": a class counts by the inverse of its share, so
            that all classes weigh alike, and the mean over documents is 1; for multi-label, no documents over yes documents.
        truth: of the training documents.
        labels: names of the outputs.
        problem: a regression has no classes.

    Raises:
        ConfigError: something else, a label that is not known, or a weight that is not a positive number.
    """
    if asked is None:
        return None
    if problem == "regression":
        raise ConfigError("class_weights: a regression has no classes; leave it out.")
    if asked == "balanced":
        return _balanced(truth, len(labels), problem)
    if not isinstance(asked, Mapping):
        raise ConfigError(f"class_weights={asked!r}: use 'balanced', {{label: weight}} or None.")
    unknown = sorted(set(asked) - set(labels))
    wrong = [
        weight for weight in asked.values() if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < np.inf
    ]
    if unknown or wrong:
        raise ConfigError(f"class_weights holds {(unknown or wrong)[0]!r}; give labels of the model with numbers over 0.")
    return torch.tensor([float(asked.get(label, 1.0)) for label in labels])


def _balanced(truth: NDArray[Any], n_labels: int, problem: Problem) -> Tensor:
    if problem == "single_label":
        counts = np.bincount(truth, minlength=n_labels)
        return torch.from_numpy(len(truth) / (np.count_nonzero(counts) * np.maximum(counts, 1)).astype(np.float32))
    yes = truth.sum(axis=0)
    return torch.from_numpy(np.clip((len(truth) - yes) / np.maximum(yes, 1), 1.0, MOST_WEIGHT).astype(np.float32))


def first_bias(truth: NDArray[Any], problem: Problem) -> NDArray[np.float32] | None:
    """Values that say nothing but what is usual, float32 ``(n_labels,)``; None where nothing is gained by it.

    The log-odds of labels of which nearly all are absent, and the mean of a regression: learning them would take its time.
    """
    if problem == "single_label":
        return None
    usual = truth.mean(axis=0, dtype=np.float64)
    if problem == "multi_label":
        share = np.clip(usual, 1 / (len(truth) + 1), 1 - 1 / (len(truth) + 1))
        usual = np.log(share / (1 - share))
    return np.asarray(usual, np.float32)
