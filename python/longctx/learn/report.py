"""The report of an evaluation: metrics with their intervals, beside controls that saw the same split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.data.writers import atomic_file
from longctx.errors import ConfigError
from longctx.learn.intervals import Interval, Resamples, intervals, paired_differences, resampled_metrics
from longctx.learn.metrics import Calibration, all_metrics, calibration, flat_metrics, per_class
from longctx.learn.outcome import Outcome
from longctx.learn.slices import Slice, by_evidence, by_length
from longctx.results import Problem

MOST_CONFUSION_LABELS = 50
"""A confusion matrix of more classes is neither kept nor drawn: nobody could read it."""
_ALWAYS = ("accuracy", "macro_f1", "micro_f1")


@dataclass(frozen=True, eq=False)  # arrays have no equality that is one bool
class Report:
    """What came out of an evaluation; :func:`make_report` makes one.

    Attributes:
        title: what was evaluated.
        problem: "single_label", "multi_label" or "regression".
        labels: their names.
        n_documents: how many documents were decided.
        metrics: every metric by its name; None where it is not defined, as a correlation with a constant.
        per_class: ``{label: {precision, recall, f1, support}}``; for regression the metrics of each value.
        intervals: accuracy, macro_f1 and micro_f1 (regression: mae, rmse, pearson) with 95 % bootstrap bounds.
        calibration: whether probabilities mean what they say; None for regression.
        confusion: int64 ``(n_labels, n_labels)``, documents by truth and decision; None unless exactly one of at most 50
            classes is decided.
        by_length: metrics of documents of similar length; empty where lengths are not known.
        by_evidence: metrics of documents with the evidence at a similar place; empty where that is not known.
        controls: ``{name: {accuracy, macro_f1, micro_f1, intervals, difference}}``, for regression also mae, rmse and pearson;
            ``difference`` is this model minus the control on the same resampled documents.
    """

    title: str
    problem: Problem
    labels: tuple[str, ...]
    n_documents: int
    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    intervals: dict[str, Interval]
    calibration: Calibration | None
    confusion: NDArray[np.int64] | None
    by_length: tuple[Slice, ...]
    by_evidence: tuple[Slice, ...]
    controls: dict[str, dict[str, Any]]

    @property
    def accuracy(self) -> float | None:
        """Share of the documents that are decided rightly, with all their labels; None for regression."""
        return self.metrics.get("accuracy")

    @property
    def macro_f1(self) -> float | None:
        """F1 with all labels counting alike; None for regression."""
        return self.metrics.get("macro_f1")

    @property
    def micro_f1(self) -> float | None:
        """F1 with all decisions counting alike; None for regression."""
        return self.metrics.get("micro_f1")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values, ready for ``json.dumps``."""
        confusion = None if self.confusion is None else self.confusion.tolist()
        return {name: getattr(self, name) for name in _ALWAYS} | asdict(self) | {"confusion": confusion}

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON, also written to ``path`` when given; what is not defined is null."""
        return _written(json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n", path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Give the tables as Markdown, also written to ``path`` when given."""
        from longctx.learn.report_pages import markdown

        return _written(markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Build a self-contained page (no scripts, nothing loaded from elsewhere), also written to ``path`` when given."""
        from longctx.learn.report_pages import page_html

        return _written(page_html(self), path)

    def confusion_picture(self, path: str | Path) -> None:
        """Write the confusion matrix as PNG; raises ConfigError where the report has none."""
        from longctx.learn.pictures import confusion_picture

        if self.confusion is None:
            raise ConfigError(f"{self.problem} with {len(self.labels)} labels has no confusion matrix; it needs one class of at most 50")
        with atomic_file(Path(path)) as file:
            file.write(confusion_picture(self.confusion, self.labels))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {interval}" for name, interval in self.intervals.items())
        ours = next(iter(self.intervals), "")
        beside = "".join(
            f"; {name}: {ours} {control[ours]:.3f}" for name, control in self.controls.items() if control.get(ours) is not None
        )
        return f"Report({self.title!r}: {self.n_documents:,} documents; {shown}{beside})"

    def _repr_html_(self) -> str:
        from longctx.learn.report_pages import notebook_html

        return notebook_html(self)


def make_report(
    outcome: Outcome, controls: Mapping[str, Outcome] | None = None, *, title: str, seed: int = 0, n_resamples: int = 1000
) -> Report:
    """Measure an outcome, beside controls for the same documents.

    Args:
        outcome: what the model said.
        controls: what others said, by name: as a rule "first_row", the same encoder on each document's first row, and "tfidf".
        title: what was evaluated.
        seed: of the resamples.
        n_resamples: how many; each draws as many documents as there are, with replacement.

    Raises:
        ConfigError: a control is about other documents, or has another problem.
        MissingDependencyError: scikit-learn is missing.
    """
    for name, control in (controls or {}).items():
        _check_same_documents(name, control, outcome)
    ours = outcome, resampled_metrics(outcome, n_resamples=n_resamples, seed=seed)
    return Report(
        title=title,
        problem=outcome.problem,
        labels=outcome.labels,
        n_documents=outcome.n_documents,
        metrics=all_metrics(outcome),
        per_class=per_class(outcome),
        intervals=intervals(*ours),
        calibration=calibration(outcome),
        confusion=_confusion(outcome),
        by_length=by_length(outcome),
        by_evidence=by_evidence(outcome),
        controls={name: _control(ours, control, n_resamples=n_resamples, seed=seed) for name, control in (controls or {}).items()},
    )


def _check_same_documents(name: str, control: Outcome, outcome: Outcome) -> None:
    same = control.problem == outcome.problem and control.labels == outcome.labels and np.array_equal(control.truth, outcome.truth)
    if not same:
        raise ConfigError(f"the control {name!r} has another problem, other labels or another truth; give it the same documents in order")


def _control(ours: tuple[Outcome, Resamples], control: Outcome, *, n_resamples: int, seed: int) -> dict[str, Any]:
    theirs = control, resampled_metrics(control, n_resamples=n_resamples, seed=seed)
    metrics = flat_metrics(control)
    named = {name: metrics.get(name) for name in (*_ALWAYS, *(() if "accuracy" in metrics else theirs[1]))}
    return named | {"intervals": intervals(*theirs), "difference": paired_differences(ours, theirs)}


def _confusion(outcome: Outcome) -> NDArray[np.int64] | None:
    n_labels = len(outcome.labels)
    if outcome.problem != "single_label" or n_labels > MOST_CONFUSION_LABELS:
        return None
    cells = outcome.truth * n_labels + outcome.decisions
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels).astype(np.int64)


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        with atomic_file(Path(path)) as file:
            file.write(text.encode("utf-8"))
    return text
