"""Metrics against counting by hand, resamples against scikit-learn, probabilities that mean what they say."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="needs the extra: pip install 'longctx[train]'")

from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, label_ranking_average_precision_score

from longctx.errors import ConfigError, ModelError
from longctx.learn.intervals import intervals, paired_differences, resample_weights, resampled_metrics
from longctx.learn.metrics import all_metrics, calibration, flat_metrics, per_class
from longctx.learn.outcome import Outcome
from longctx.learn.slices import by_evidence, by_length
from outcomes import as_table, label_outcomes, make_outcome, naive_f1


def _single(scores: list[list[float]], truth: list[int], **fields: object) -> Outcome:
    labels = tuple("abcdefgh"[: len(scores[0])])
    return Outcome("single_label", labels, np.array(scores, np.float32), np.array(truth), **fields)


def _values(values: list[float], truth: list[float]) -> Outcome:
    return Outcome("regression", ("value",), np.array(values, np.float32)[:, None], np.array(truth, np.float64)[:, None])


def test_an_example_counted_by_hand():
    # a: 2 of 3 found, nothing wrong; b: 1 of 1 found, one a taken for it; c never occurs
    outcome = _single([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.9, 0.0]], [0, 0, 0, 1])
    found = flat_metrics(outcome)
    assert found["accuracy"] == found["micro_f1"] == found["top_1"] == 0.75
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["macro_precision"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["macro_recall"] == pytest.approx((2 / 3 + 1) / 2)
    classes = per_class(outcome)
    assert classes["a"] == pytest.approx({"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert classes["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


@given(label_outcomes())
def test_metrics_equal_counting_document_by_document(outcome: Outcome):
    truth, decisions = as_table(outcome, outcome.truth), as_table(outcome, outcome.decisions)
    f1 = [naive_f1(list(t), list(d)) for t, d in zip(truth.T, decisions.T, strict=True)]
    counts = truth.any(axis=0) | decisions.any(axis=0) if outcome.problem == "single_label" else np.ones(len(f1), bool)
    found = flat_metrics(outcome)
    assert [row["f1"] for row in per_class(outcome).values()] == pytest.approx(f1)
    assert found["macro_f1"] == pytest.approx(np.mean(np.array(f1)[counts]))
    assert found["micro_f1"] == pytest.approx(naive_f1(list(truth.ravel()), list(decisions.ravel())))
    assert found["accuracy"] == pytest.approx(np.mean([(t == d).all() for t, d in zip(truth, decisions, strict=True)]))


@given(label_outcomes())
def test_precision_at_k_looks_at_the_most_probable_labels(outcome: Outcome):
    truth, found = as_table(outcome, outcome.truth), flat_metrics(outcome)
    ranked = np.take_along_axis(truth, np.argsort(-outcome.scores, axis=1), axis=1)
    assert found["top_1"] == pytest.approx(ranked[:, 0].mean())
    assert ("precision_at_5" in found) == (outcome.problem == "multi_label" and len(outcome.labels) >= 5)
    if "precision_at_5" in found:
        assert found["precision_at_5"] == pytest.approx(ranked[:, :5].mean())


def test_labels_are_ranked_as_scikit_learn_ranks_them():
    outcome = make_outcome("multi_label", 50, 7)
    expected = label_ranking_average_precision_score(outcome.truth, outcome.scores)
    assert all_metrics(outcome)["label_ranking_average_precision"] == pytest.approx(expected)


@given(label_outcomes(), st.integers(0, 100))
def test_a_resample_is_measured_as_scikit_learn_measures_its_documents(outcome: Outcome, seed: int):
    found = resampled_metrics(outcome, n_resamples=5, seed=seed)
    [weights] = resample_weights(outcome.n_documents, n_resamples=5, seed=seed)
    tables = as_table(outcome, outcome.truth), as_table(outcome, outcome.decisions)
    occurs = (tables[0] | tables[1]).any(axis=0).mean() if outcome.problem == "multi_label" else 1.0
    for i, times in enumerate(weights.astype(int)):
        truth, decisions = (np.repeat(table, times, axis=0) for table in tables)
        labels = np.flatnonzero((truth | decisions).any(axis=0))
        assert found["accuracy"][i] == pytest.approx(accuracy_score(truth, decisions))
        each = [f1_score(truth[:, label], decisions[:, label]) for label in labels]
        assert found["macro_f1"][i] == pytest.approx(np.mean(each) * occurs if each else 0.0)
        assert found["micro_f1"][i] == pytest.approx(f1_score(truth.ravel(), decisions.ravel(), zero_division=0))


@given(label_outcomes())
def test_a_resample_of_each_document_once_gives_the_metrics_themselves(outcome: Outcome):
    from longctx.learn.intervals import _LabelMeasure

    once = _LabelMeasure(outcome)(np.ones((1, outcome.n_documents)))
    assert {name: values[0] for name, values in once.items()} == pytest.approx({name: flat_metrics(outcome)[name] for name in once})


@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 10**6))
def test_a_resample_of_values_is_measured_as_its_documents_are(n_documents: int, n_values: int, seed: int):
    outcome = make_outcome("regression", n_documents, n_values, seed=seed)
    found = resampled_metrics(outcome, n_resamples=5, seed=seed)
    [weights] = resample_weights(n_documents, n_resamples=5, seed=seed)
    for i, times in enumerate(weights.astype(int)):
        truth, values = np.repeat(outcome.truth, times, axis=0).T, np.repeat(outcome.decisions, times, axis=0).T
        assert found["mae"][i] == pytest.approx(np.abs(truth - values).mean())
        assert found["rmse"][i] == pytest.approx(np.mean([np.sqrt(np.mean((t - v) ** 2)) for t, v in zip(truth, values, strict=True)]))
        spread = min(np.ptp(column) for column in (*truth, *values))
        if spread > 1e-3:
            expected = np.mean([pearsonr(t, v).statistic for t, v in zip(truth, values, strict=True)])
            assert found["pearson"][i] == pytest.approx(expected, abs=1e-6)
        elif spread == 0:
            assert np.isnan(found["pearson"][i])


def test_an_interval_is_as_wide_as_the_number_of_documents_makes_it():
    n_documents, share = 2000, 0.8
    truth = (np.arange(n_documents) >= share * n_documents).astype(int)
    outcome = _single([[0.9, 0.1]] * n_documents, truth.tolist())
    interval = intervals(outcome, resampled_metrics(outcome, n_resamples=5000))["accuracy"]
    half = 1.96 * np.sqrt(share * (1 - share) / n_documents)
    assert interval.estimate == pytest.approx(share)
    assert [interval.low, interval.high] == pytest.approx([share - half, share + half], abs=0.001)


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_an_interval_holds_its_metric_also_where_labels_are_rare(problem: str):
    n_documents, n_labels = 400, 300
    rng = np.random.default_rng(0)
    classes = np.minimum(rng.geometric(0.01, n_documents), n_labels) - 1
    decisions = np.where(rng.random(n_documents) < 0.6, classes, rng.permutation(classes))
    one_hot = np.eye(n_labels)
    truth = classes if problem == "single_label" else one_hot[classes].astype(bool)
    outcome = Outcome(problem, tuple(map(str, range(n_labels))), one_hot[decisions].astype(np.float32), truth)
    for interval in intervals(outcome, resampled_metrics(outcome)).values():
        assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_the_same_model_differs_from_itself_by_nothing(problem: str):
    outcome = make_outcome(problem, 60, 3)
    resamples = resampled_metrics(outcome, n_resamples=50)
    for difference in paired_differences((outcome, resamples), (outcome, resampled_metrics(outcome, n_resamples=50))).values():
        assert difference.estimate == difference.low == difference.high == 0


def test_a_paired_difference_is_narrower_than_the_intervals_of_both():
    truth = np.random.default_rng(1).integers(2, size=500)
    first = np.where(np.arange(500) % 10 < 7, truth, 1 - truth)  # 7 of 10 right
    second = np.where(np.arange(500) % 10 < 6, truth, 1 - truth)  # one of those wrong
    models = [Outcome("single_label", ("a", "b"), np.eye(2, dtype=np.float32)[decisions], truth) for decisions in (first, second)]
    resamples = [resampled_metrics(model) for model in models]
    difference = paired_differences((models[0], resamples[0]), (models[1], resamples[1]))["accuracy"]
    alone = intervals(models[0], resamples[0])["accuracy"]
    assert difference.estimate == pytest.approx(0.1)
    assert 0 < difference.low < 0.1 < difference.high
    assert difference.high - difference.low < alone.high - alone.low


def test_ten_thousand_documents_take_seconds():
    outcome = make_outcome("single_label", 10_000, 24)
    start = time.perf_counter()
    resampled_metrics(outcome)
    assert time.perf_counter() - start < 20


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated():
    rng = np.random.default_rng(0)
    p = rng.random((20_000, 4)).astype(np.float32)
    found = calibration(Outcome("multi_label", tuple("abcd"), p, rng.random(p.shape) < p))
    assert found is not None
    assert found.expected_error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 - p)
    assert len(found.bins) == 15
    assert sum(part.count for part in found.bins) == p.size
    assert all(part.confidence == pytest.approx(part.accuracy, abs=0.03) for part in found.bins)


def test_overconfidence_is_the_distance_to_the_diagonal():
    # confidence 0.9 and half of them right; confidence 0.6 and all of them right
    outcome = _single([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], [0, 1, 0, 1])
    found = calibration(outcome)
    assert found is not None
    assert [(part.accuracy, part.count) for part in found.bins] == [(1.0, 2), (0.5, 2)]
    assert found.expected_error == pytest.approx((0.4 + 0.4) / 2)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)


def test_values_are_measured_by_hand():
    found = all_metrics(_values([1, 2, 3, 5], [1, 2, 3, 4]))
    assert found["mae"] == 0.25
    assert found["rmse"] == 0.5
    assert found["r2"] == pytest.approx(1 - 1 / 5)
    assert found["spearman"] == pytest.approx(1)
    assert found["pearson"] == pytest.approx(6.5 / np.sqrt(5 * 8.75))


@pytest.mark.parametrize(("values", "truth"), [([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [0.1, 0.1, 0.1]), ([1], [2])])
def test_constants_correlate_with_nothing_and_nothing_warns(values: list[float], truth: list[float]):
    outcome = _values(values, truth)
    found = all_metrics(outcome)
    assert found["pearson"] is found["spearman"] is None
    assert (found["r2"] is None) == (len(set(truth)) == 1)
    assert "pearson" not in flat_metrics(outcome)
    assert set(intervals(outcome, resampled_metrics(outcome, n_resamples=20))) == {"mae", "rmse"}


def test_documents_are_measured_by_length_without_lengths_that_none_has():
    outcome = _single([[1, 0]] * 4, [0, 1, 0, 0], n_tokens=np.array([10, 512, 513, 20_000]))
    slices = by_length(outcome)
    assert [part.name for part in slices] == ["up to 512 tokens", "513 to 1,024 tokens", "more than 16,384 tokens"]
    assert [part.n_documents for part in slices] == [2, 1, 1]
    assert [part.metrics["accuracy"] for part in slices] == [0.5, 1, 1]
    assert slices[0].metrics["macro_f1"] == pytest.approx(1 / 3)


def test_documents_are_measured_by_the_place_of_their_evidence_where_it_is_known():
    at = np.array([0, 0.19, 0.2, 1, np.nan], np.float32)
    slices = by_evidence(_single([[1, 0]] * 5, [0, 1, 0, 1, 0], evidence_at=at))
    assert [(part.name.split(" %")[0], part.n_documents) for part in slices] == [("0 to 20", 2), ("20 to 40", 1), ("80 to 100", 1)]
    assert [part.metrics["accuracy"] for part in slices] == [0.5, 1, 0]
    assert by_evidence(_single([[1, 0]], [0])) == by_length(_single([[1, 0]], [0])) == ()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"truth": np.array([0])}, ConfigError, r"truth has the shape \(1,\)"),
        ({"truth": np.array([0, 2])}, ConfigError, "class 0 to 2"),
        ({"truth": np.array([0.0, 1.0])}, ConfigError, "float64"),
        ({"n_tokens": np.array([1, 2, 3])}, ConfigError, "n_tokens"),
        ({"labels": ("a", "a")}, ConfigError, "same name"),
        ({"problem": "ranking"}, ConfigError, "'ranking'"),
        ({"scores": np.zeros((0, 2), np.float32), "truth": np.zeros(0, int)}, ConfigError, "0 documents"),
        ({"scores": np.array([[np.nan, 0], [0, 1]], np.float32)}, ModelError, "finite"),
        ({"scores": np.array([[3, 0], [0, 1]], np.float32)}, ModelError, "logits"),
    ],
)
def test_an_outcome_refuses_what_cannot_be_measured(changes: dict[str, object], error: type[Exception], message: str):
    fields = {"problem": "single_label", "labels": ("a", "b"), "scores": np.eye(2, dtype=np.float32), "truth": np.array([0, 1])}
    with pytest.raises(error, match=message):
        Outcome(**fields | changes)
