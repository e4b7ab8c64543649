"""Judging a model on labelled documents, always beside what simple means make of the same split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.classify import LongDocumentClassifier
from longctx.inference.device import pick_device
from longctx.learn.controls import linear_control, tfidf_control
from longctx.learn.labelled import LabelledDocuments, encode_labels, read_labelled
from longctx.learn.outcome import Outcome
from longctx.learn.report import Report, make_report
from longctx.learn.state_cache import frozen_documents
from longctx.nn.checkpoints import load_checkpoint
from longctx.nn.model import LongDocumentModel
from longctx.results import Prediction


def evaluate(
    model: Any,
    test: Any,
    *,
    train: Any = None,
    text: str = "text",
    label: str = "label",
    seed: int = 0,
    title: str | None = None,
    **options: Any,
) -> Report:
    """Judge a model that has learned its labels, on all of every document.

    With ``train`` there are two controls on the same split, fitted on it: "first_row", logistic regression on the encoder's state of each
    document's first row, as long as the encoder allows, which is what truncation would leave; and "tfidf", logistic regression on words.
    For a sequence-classification checkpoint "first_row" is that checkpoint reading each document's first row.

    Args:
        model: a saved or loaded ``LongDocumentModel``, or anything else with a trained head that ``chunk_and_classify`` takes.
        test: labelled documents of any kind that ``Trainer`` takes.
        train: those the model has learned from, for the controls; None for no controls.
        text: name of the column with the text.
        label: name of the column with the label.
        seed: of the bootstrap and the controls.
        title: of the report; None for the model's name.
        **options: as for ``chunk_and_classify``, such as ``device`` or ``max_tokens``.

    Raises:
        ConfigError: a label the model does not know, an empty text or a missing column; the message names the row.
        ModelError: the model has no labels of its own.
        MissingDependencyError: the extra ``longctx[train]`` is not installed.
    """
    judge = _Judge(model, read_labelled(test, text=text, label=label, name="test"), seed, options)
    controls = {} if train is None else judge.controls(read_labelled(train, text=text, label=label, name="train"))
    return make_report(judge.outcome(), controls, title=title or judge.name, seed=seed)


class _Judge:
    """A model and the documents it is judged on."""

    def __init__(self, model: Any, test: LabelledDocuments, seed: int, options: dict[str, Any]) -> None:
        checkpoint = load_checkpoint(model, options.get("tokenizer"))
        self._decider: LongDocumentModel | None = checkpoint.decider
        self._model = model  # as it was given: what is loaded from files may be computed by the fastest backend
        self._options = options
        self._classifier = self._classify(**options)
        if self._decider is not None and not checkpoint.was_loaded:
            self._decider.to(pick_device(options.get("device", "auto")))  # for the first row; the classifier has read the files for itself
        self._test = test
        self._seed = seed
        self.name = checkpoint.name
        self._truth = self._encoded(test)

    def outcome(self) -> Outcome:
        """Ask the model."""
        return self._told_by(self._classifier)

    def controls(self, train: LabelledDocuments) -> dict[str, Outcome]:
        """Fit and ask the controls."""
        truth = self._encoded(train)
        given: dict[str, Any] = {"problem": self._classifier.problem, "seed": self._seed, "n_labels": len(self._classifier.labels)}
        words = tfidf_control(train.texts, truth, self._test.texts, **given)
        return {"first_row": self._first_row(train, truth, given), "tfidf": self._scored(words)}

    def _first_row(self, train: LabelledDocuments, truth: NDArray[Any], given: dict[str, Any]) -> Outcome:
        if self._decider is None:
            return self._told_by(self._classify(**{**self._options, "select": "head", "max_chunks": 1}))
        states = [_first_states(self._decider, texts) for texts in (train.texts, self._test.texts)]
        return self._scored(linear_control(states[0], truth, states[1], **given))

    def _classify(self, **options: Any) -> LongDocumentClassifier:
        return LongDocumentClassifier.from_pretrained(self._model, **options)

    def _encoded(self, documents: LabelledDocuments) -> NDArray[Any]:
        return encode_labels(documents, self._classifier.labels, self._classifier.problem)

    def _told_by(self, classifier: LongDocumentClassifier) -> Outcome:
        told = [_Told(prediction, len(classifier.labels)) for prediction in classifier.stream(self._test.texts)]
        return Outcome(
            classifier.problem,
            classifier.labels,
            np.array([each.scores for each in told], np.float32),
            self._truth,
            n_tokens=np.array([each.n_tokens for each in told]),
            evidence_at=np.array([each.evidence_at for each in told], np.float32),
        )

    def _scored(self, scores: NDArray[np.float32]) -> Outcome:
        return Outcome(self._classifier.problem, self._classifier.labels, scores, self._truth)


class _Told:
    """What is kept of a prediction: its passages would fill the memory."""

    def __init__(self, prediction: Prediction, n_labels: int) -> None:
        self.scores = list(prediction.probabilities.values()) or _values(prediction, n_labels)
        self.n_tokens = prediction.coverage.tokens
        start, end = prediction.decisive.token_span
        self.evidence_at = (start + end) / 2 / max(1, self.n_tokens)


def _values(prediction: Prediction, n_labels: int) -> list[float]:
    label: Any = prediction.label
    return [float(label)] if n_labels == 1 else [float(value) for value in label]


def _first_states(model: LongDocumentModel, texts: Sequence[str]) -> NDArray[np.float32]:
    """One state for each document's first row, float32 ``(n_documents, hidden)``."""
    documents = frozen_documents(model, texts, np.zeros(len(texts)), first_row=True, dtype="auto")
    return np.stack([states.mean(axis=0) for states in documents.states or ()])
