"""Outcomes drawn by chance, and a slow and obvious count of what is right about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from longctx.learn.outcome import Outcome, Problem

NEEDS_TRAIN = "needs the extra: pip install 'longctx[train]'"


def make_outcome(problem: Problem, n_documents: int, n_labels: int, *, seed: int = 0, skill: float = 1.0, **fields: Any) -> Outcome:
    """``skill`` is how much the scores know of the truth; the truth depends on the seed alone."""
    truth_rng, rng = np.random.default_rng(seed), np.random.default_rng([seed, int(100 * (skill + 9))])
    truth: NDArray[Any]
    if problem == "single_label":
        truth = truth_rng.integers(n_labels, size=n_documents)
        known = np.eye(n_labels)[truth]
    elif problem == "multi_label":
        truth = truth_rng.random((n_documents, n_labels)) < 0.3
        known = 2.0 * truth - 1
    else:
        known = truth = truth_rng.normal(size=(n_documents, n_labels)).round(1)
    scores = skill * known + rng.normal(size=known.shape)
    if problem == "single_label":
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    elif problem == "multi_label":
        scores = 1 / (1 + np.exp(-scores))
    return Outcome(problem, tuple(f"label {i}" for i in range(n_labels)), scores.astype(np.float32), truth, **fields)


def label_outcomes(*, max_documents: int = 12) -> st.SearchStrategy[Outcome]:
    """Small single-label and multi-label outcomes, in which labels are missing and repeated."""
    return st.builds(
        make_outcome,
        st.sampled_from(["single_label", "multi_label"]),
        st.integers(1, max_documents),
        st.integers(1, 6),
        seed=st.integers(0, 10**6),
        skill=st.sampled_from([-1.0, 0.0, 1.0, 5.0]),
    )


def as_table(outcome: Outcome, classes: NDArray[Any]) -> NDArray[np.bool_]:
    """Bool ``(n_documents, n_labels)`` for both kinds of problems."""
    return classes if outcome.problem == "multi_label" else np.eye(len(outcome.labels), dtype=bool)[classes]


def naive_f1(truth: list[bool], decisions: list[bool]) -> float:
    """F1 of one label, counted document by document; 0 where it is not defined."""
    pairs = list(zip(truth, decisions, strict=True))
    hits, wrong = pairs.count((True, True)), pairs.count((True, False)) + pairs.count((False, True))
    return 2 * hits / (2 * hits + wrong) if hits else 0.0
