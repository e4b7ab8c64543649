"""``longctx.evaluate`` and ``Trainer.evaluate``: what a model says of labelled documents, beside controls fitted on the training ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra: pip install 'longctx[train]'")
pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import longctx
from longctx import LongDocumentModel, Trainer
from longctx.errors import ConfigError, ModelError
from longctx.learn import evaluation
from longctx.learn.outcome import Outcome
from models import MAX_TOKENS, naive_rows, save_checkpoint, softmax

LABELS = ["cat", "dog"]
FILLER = "The quick brown fox jumps over the lazy dog. " * 6
TEXTS = [FILLER + ("chunk row " if n % 2 else "reader reads ") * 4 + FILLER[: 9 * n] for n in range(12)]
DATA: dict[str, list[Any]] = {
    "single_label": [LABELS[n % 2] for n in range(12)],
    "multi_label": [[LABELS[n % 2]] if n % 3 else [] for n in range(12)],
    "regression": [n + 0.5 for n in range(12)],
}
NO_TOKENS = "\x00"
"""A text that is not blank, and of which the tokenizer leaves nothing."""

Make = Callable[..., LongDocumentModel]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("classifier"), "Bert", id2label=dict(enumerate(LABELS)))


@pytest.fixture
def make(encoder: Path) -> Make:
    def model(problem: str = "single_label", **options: Any) -> LongDocumentModel:
        labels = ["value"] if problem == "regression" else LABELS
        return LongDocumentModel.from_encoder(encoder, labels=labels, problem=problem, max_tokens=16, overlap_tokens=3, **options).eval()  # type: ignore[arg-type]

    return model


def pairs(problem: str = "single_label", n_documents: int = 12) -> list[tuple[str, Any]]:
    return list(zip(TEXTS, DATA[problem], strict=True))[:n_documents]


def arguments(folder: Path) -> TrainingArguments:
    return TrainingArguments(str(folder), num_train_epochs=1, save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Outcome, dict[str, Outcome]]]:
    """What reports are made of, as it comes in."""
    seen: list[tuple[Outcome, dict[str, Outcome]]] = []
    make_report = evaluation.make_report

    def noting(outcome: Outcome, controls: dict[str, Outcome], **options: Any) -> longctx.Report:
        seen.append((outcome, controls))
        return make_report(outcome, controls, **options)

    monkeypatch.setattr(evaluation, "make_report", noting)
    return seen


@pytest.mark.parametrize("problem", DATA)
def test_a_model_is_judged_by_what_it_says_of_whole_documents(make: Make, outcomes: list[Any], problem: str):
    model = make(problem)
    report = longctx.evaluate(model, pairs(problem), dtype="float32")
    told = longctx.chunk_and_classify(TEXTS, model, dtype="float32")
    outcome, controls = outcomes[0]
    assert controls == report.controls == {}
    wanted = [[one.label] if problem == "regression" else list(one.probabilities.values()) for one in told]
    np.testing.assert_allclose(outcome.scores, wanted, atol=1e-5)
    assert (report.problem, report.n_documents) == (problem, 12)
    assert outcome.n_tokens.tolist() == [one.coverage.tokens for one in told]
    assert outcome.evidence_at == pytest.approx([sum(one.decisive.token_span) / 2 / one.coverage.tokens for one in told], abs=1e-6)
    if problem != "regression":
        assert report.accuracy == np.mean([one.label == label for one, label in zip(told, DATA[problem], strict=True)])
    else:
        assert report.metrics["mae"] == pytest.approx(np.abs(np.ravel(wanted) - DATA[problem]).mean())


@pytest.mark.parametrize("problem", DATA)
def test_controls_are_fitted_where_there_is_something_to_fit_them_on(make: Make, problem: str):
    report = longctx.evaluate(make(problem), pairs(problem), train=pairs(problem))
    assert report.controls.keys() == {"first_row", "tfidf"}
    measure = "mae" if problem == "regression" else "accuracy"
    for control in report.controls.values():
        assert control[measure] is not None
        assert control["difference"][measure].estimate == pytest.approx(report.metrics[measure] - control[measure])
    if problem != "regression":  # every document says its class in words
        assert report.controls["tfidf"]["accuracy"] > 0.6


def test_the_first_row_is_as_long_as_the_encoder_allows_and_holds_nothing_else(make: Make):
    model = make()
    long = TEXTS[0].split()
    same = " ".join(long[: 3 * MAX_TOKENS])
    states = evaluation._first_states(model, [same, same + " chunk row" * 50, "chunk row " + same])
    assert states.shape == (3, 16)
    np.testing.assert_allclose(states[0], states[1], atol=1e-6)
    assert np.abs(states[0] - states[2]).max() > 1e-3


def test_the_first_row_of_a_classifier_is_that_classifier_on_the_first_row(classifier: Path, outcomes: list[Any]):
    report = longctx.evaluate(str(classifier), pairs(), train=pairs(), dtype="float32")
    network = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    rows = [naive_rows(classifier, text, max_tokens=MAX_TOKENS, overlap_tokens=4)[0][0] for text in TEXTS]
    with torch.inference_mode():
        logits = np.stack([network(input_ids=torch.tensor([ids])).logits[0].double().numpy() for ids in rows])
    first_row = outcomes[0][1]["first_row"]
    np.testing.assert_allclose(first_row.scores, softmax(logits), atol=1e-5)
    assert np.abs(first_row.scores - outcomes[0][0].scores).max() > 1e-3
    right = logits.argmax(axis=1) == [LABELS.index(label) for label in DATA["single_label"]]
    assert report.controls["first_row"]["accuracy"] == right.mean()


def test_a_loaded_classifier_is_judged_as_its_folder(classifier: Path, outcomes: list[Any]):
    loaded = AutoModelForSequenceClassification.from_pretrained(classifier), AutoTokenizer.from_pretrained(classifier)
    for model in (classifier, loaded):
        longctx.evaluate(model, pairs(), dtype="float32")
    np.testing.assert_allclose(outcomes[0][0].scores, outcomes[1][0].scores, atol=1e-6)


def test_only_a_model_that_is_read_from_files_is_put_where_it_runs_best(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr(evaluation, "pick_device", lambda device: asked.append(device) or torch.device("cpu"))
    model = make()
    longctx.evaluate(model, pairs())
    assert asked == []
    model.save_pretrained(tmp_path)
    longctx.evaluate(tmp_path, pairs())
    assert asked == ["auto"]


def test_options_of_classifying_are_passed_on(classifier: Path, outcomes: list[Any]):
    for options in ({}, {"max_tokens": 8}, {"aggregate": "max"}):
        longctx.evaluate(classifier, pairs(), dtype="float32", **options)
    told = [outcome.scores for outcome, _ in outcomes]
    assert all(np.abs(told[0] - other).max() > 1e-4 for other in told[1:])


def test_what_has_no_labels_of_its_own_cannot_be_judged(encoder: Path, tmp_path: Path):
    names = ("entailment", "neutral", "contradiction")
    nli = save_checkpoint(tmp_path, "Bert", id2label=dict(enumerate(names)), num_labels=3)
    for folder, why in ((encoder, "has no classification head"), (nli, "is an NLI checkpoint")):
        with pytest.raises(ModelError, match=f"{why}.*give a trained classifier"):
            longctx.evaluate(folder, pairs())


def test_a_label_the_model_does_not_know_is_named_with_its_row(make: Make):
    with pytest.raises(ConfigError, match=r"test\[1\]: the model has no label 'bird'"):
        longctx.evaluate(make(), [("fine", "cat"), ("odd", "bird")])
    with pytest.raises(ConfigError, match=r"train\[0\]: the model has no label 'bird'"):
        longctx.evaluate(make(), pairs(), train=[("odd", "bird")])


@pytest.mark.parametrize("aggregator", ["attention", "mean", "max", "lstm", "label_attention"])
def test_evidence_lies_within_the_document(make: Make, outcomes: list[Any], aggregator: str):
    longctx.evaluate(make(aggregator=aggregator), pairs())
    at = outcomes[0][0].evidence_at
    assert at.shape == (12,)
    assert at.min() >= 0
    assert at.max() <= 1


@pytest.mark.parametrize("problem", DATA)
def test_a_document_without_tokens_is_judged_too(make: Make, outcomes: list[Any], problem: str):
    data = [*pairs(problem), (NO_TOKENS, DATA[problem][1])]
    report = longctx.evaluate(make(problem), data, train=data)
    outcome = outcomes[0][0]
    assert report.n_documents == 13
    assert (outcome.n_tokens[-1], outcome.evidence_at[-1]) == (0, 0)
    assert np.isfinite(outcome.scores).all()


def test_the_same_evaluation_twice_gives_the_same_report(make: Make):
    first, second = (longctx.evaluate(make(), pairs(), train=pairs(), seed=3, title="Cats") for _ in range(2))
    assert first.to_json() == second.to_json()
    assert first.title == "Cats"


def test_the_report_of_the_trainer_stands_in_the_model_card(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = make()
    trainer = Trainer(model, arguments(tmp_path / "runs"), train=pairs(), freeze_encoder=True)
    trainer.train()
    report = trainer.evaluate(pairs(), dtype="float32")
    assert report.controls.keys() == {"first_row", "tfidf"}
    assert model.report is report
    model.save_pretrained(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert report.to_markdown().strip() in card
    assert str(tmp_path.parent) not in card  # where the encoder lay is nobody's business
    assert longctx.evaluate(tmp_path / "out", pairs(), dtype="float32").metrics == pytest.approx(report.metrics)


def test_the_trainer_judges_without_controls_and_by_its_own_columns(make: Make, tmp_path: Path):
    rows = [{"body": text, "animal": label} for text, label in pairs()]
    trainer = Trainer(make(), arguments(tmp_path), train=rows, validation=rows, text="body", label="animal", freeze_encoder=True)
    report = trainer.evaluate(rows, controls=False, title="Cats")
    assert (report.title, report.controls, report.n_documents) == ("Cats", {}, 12)
    logged = trainer.evaluate()
    assert logged["eval_accuracy"] == report.accuracy
    assert logged["eval_macro_f1"] == report.macro_f1


def test_judging_leaves_a_model_in_training_as_it_was(make: Make, tmp_path: Path):
    model = make()
    trainer = Trainer(model, arguments(tmp_path), train=pairs())
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer.evaluate(pairs())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())
