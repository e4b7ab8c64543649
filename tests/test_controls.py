"""Linear models on made-up sets: easy ones are learned, impossible ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="needs the extra: pip install 'longctx[train]'")

from longctx.errors import ConfigError
from longctx.learn.controls import TUNED_LABELS, linear_control, tfidf_control

FILLER = [f"word{i}" for i in range(200)]
WORDS = ("goal", "court", "paint")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _texts(words: NDArray[np.bool_], rng: np.random.Generator) -> list[str]:
    """Texts of 10 words by chance, with those of ``WORDS`` that are asked for, ``(n_documents, 3)``."""
    return [" ".join([*rng.choice(FILLER, 10), *np.array(WORDS)[row]]) for row in words]


def _classes(n_documents: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.int64]]:
    truth = rng.integers(3, size=n_documents)
    return _texts(np.eye(3, dtype=bool)[truth], rng), truth


def test_words_tell_classes_apart(rng: np.random.Generator):
    train, train_truth = _classes(150, rng)
    test, test_truth = _classes(100, rng)
    scores = tfidf_control(train, train_truth, test, problem="single_label", seed=0)
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(np.ones(100), abs=1e-5)
    assert (scores.argmax(axis=1) == test_truth).mean() > 0.9


def test_the_same_seed_gives_the_same_scores(rng: np.random.Generator):
    train, truth = _classes(60, rng)
    first, second = (tfidf_control(train, truth, train[:9], problem="single_label", seed=3) for _ in range(2))
    assert (first == second).all()


def test_a_script_without_blanks_is_read_by_characters(rng: np.random.Generator):
    characters = [chr(code) for code in range(0x4E00, 0x4F00)]
    truth = np.arange(120) % 2
    texts = ["".join(rng.permutation([*rng.choice(characters, 60), *"猫犬"[label] * 5])) for label in truth]
    scores = tfidf_control(texts[:80], truth[:80], texts[80:], problem="single_label", seed=0)
    assert (scores.argmax(axis=1) == truth[80:]).mean() > 0.9


def test_each_label_has_a_model_and_those_that_never_or_always_occur_are_constant(rng: np.random.Generator):
    truth = rng.random((200, 3)) < 0.4
    texts = _texts(truth, rng)
    truth = np.column_stack([truth, np.zeros(200, bool), np.ones(200, bool)])
    scores = tfidf_control(texts[:150], truth[:150], texts[150:], problem="multi_label", seed=0)
    assert ((scores[:, :3] >= 0.5) == truth[150:, :3]).mean() > 0.9
    assert (scores[:, 3] == 0).all()
    assert (scores[:, 4] == 1).all()


def test_many_labels_that_occur_once_are_trained_without_warnings():
    truth = np.zeros((40, TUNED_LABELS + 20), bool)
    truth[np.arange(40), np.arange(40)] = True
    states = np.eye(40, dtype=np.float32)
    scores = linear_control(states, truth, states, problem="multi_label", seed=0)
    assert scores.shape == truth.shape
    assert (scores.argmax(axis=1) == np.arange(40)).all()


def test_states_tell_classes_apart_and_classes_that_are_missing_get_nothing(rng: np.random.Generator):
    truth = rng.integers(2, size=300) * 2  # class 1 has no documents
    states = (rng.normal(size=(300, 8)) + truth[:, None]).astype(np.float32)
    scores = linear_control(states[:200], truth[:200], states[200:], problem="single_label", seed=0, n_labels=4)
    assert scores.shape == (100, 4)
    assert (scores[:, [1, 3]] == 0).all()
    assert (scores.argmax(axis=1) == truth[200:]).mean() > 0.9


def test_the_penalty_is_chosen_on_the_train_documents(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longctx.learn.controls._STATE_CS", (1e-8, 1e-7, 1.0))  # the first two never decide for the rare class
    truth = (np.arange(400) % 10 == 0).astype(int)
    states = (rng.normal(size=(400, 4)) + 3 * truth[:, None]).astype(np.float32)
    scores = linear_control(states[:200], truth[:200], states[200:], problem="single_label", seed=0)
    assert (scores.argmax(axis=1) == truth[200:]).mean() > 0.95


@pytest.mark.parametrize("n_values", [1, 2])
def test_values_are_learned(n_values: int, rng: np.random.Generator):
    states = rng.normal(size=(120, 5)).astype(np.float32)
    truth = states[:, :n_values].astype(np.float64) * 3 + 7
    values = linear_control(states[:90], truth[:90], states[90:], problem="regression", seed=0)
    assert values == pytest.approx(truth[90:], abs=0.5)


def test_a_constant_value_is_learned_too():
    values = tfidf_control(["a cat", "a dog", "a cow"], np.full((3, 1), 4.0), ["a bird"], problem="regression", seed=0)
    assert values == pytest.approx(np.array([[4.0]]))


def test_rare_classes_and_tiny_sets_are_trained_without_choosing(rng: np.random.Generator):
    scores = tfidf_control(["red fox", "blue sky"], np.array([0, 1]), ["red fox"], problem="single_label", seed=0)
    assert scores.argmax() == 0
    texts, truth = _classes(60, rng)
    truth[0] = 3  # one document of this class: not every fold has it
    assert tfidf_control(texts, truth, texts, problem="single_label", seed=0).shape == (60, 4)


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="all 2 train documents have class 1"):
        tfidf_control(["red fox", "blue sky"], np.array([1, 1]), ["x"], problem="single_label", seed=0)


def test_documents_without_terms_are_refused():
    with pytest.raises(ConfigError, match="no terms in the 2 train documents"):
        tfidf_control(["", "! ?"], np.array([0, 1]), ["x"], problem="single_label", seed=0)


def test_a_truth_of_other_documents_is_refused():
    with pytest.raises(ConfigError, match="2 train documents with the truth of 3"):
        linear_control(np.eye(2, dtype=np.float32), np.array([0, 1, 1]), np.eye(2, dtype=np.float32), problem="single_label", seed=0)
