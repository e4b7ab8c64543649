"""Labels as numbers: they survive them, and one that does not fit the model is named with its row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.learn.labelled import LabelledDocuments, encode_labels, label_names, read_labelled


def test_names_are_sorted_as_people_count() -> None:
    assert label_names(["10", "9", "-1", "9", "0"], "single_label") == ["-1", "0", "9", "10"]
    assert label_names(["part 10b", "part 9", "part 10a", "x"], "single_label") == ["part 9", "part 10a", "part 10b", "x"]
    assert label_names([["b"], [], ["a", "b"]], "multi_label") == ["a", "b"]
    assert label_names([0.5, 1.5], "regression") == []


def labelled(*labels: Any) -> LabelledDocuments:
    return read_labelled([("text", label) for label in labels])


NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: bool(name.strip()))


@given(st.lists(NAME, min_size=1))
def test_names_survive_their_numbers(names: list[str]) -> None:
    documents = labelled(*names)
    labels = label_names(documents.labels, "single_label")
    truth = encode_labels(documents, labels, "single_label")
    assert truth.dtype == np.int64
    assert sorted(labels) == sorted(set(names))
    assert [labels[index] for index in truth] == names


@given(st.lists(st.lists(NAME), min_size=1))
def test_lists_of_names_survive_their_numbers(lists: list[list[str]]) -> None:
    documents = labelled(*lists)
    labels = label_names(documents.labels, "multi_label")
    truth = encode_labels(documents, labels, "multi_label")
    assert truth.dtype == np.bool_
    assert truth.shape == (len(lists), len(labels))
    assert [{labels[index] for index in np.flatnonzero(row)} for row in truth] == [set(names) for names in lists]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_values_survive(values: list[float]) -> None:
    truth = encode_labels(labelled(*values), [], "regression")
    assert truth.dtype == np.float64
    assert truth.shape == (len(values), 1)
    assert truth[:, 0].tolist() == values


def test_names_that_are_numbers_are_values_for_a_regression() -> None:
    assert encode_labels(labelled(1, 2.0, "10"), [], "regression").tolist() == [[1.0], [2.0], [10.0]]


def test_a_single_label_is_a_list_of_one_for_a_multi_label_model() -> None:
    assert encode_labels(labelled("b", "a"), ["a", "b"], "multi_label").tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("labels", "problem", "message"),
    [
        (["sport", "sprot"], "single_label", r"train\[1\]: the model has no label 'sprot'; it knows .* Did you mean 'sport'\?"),
        (
            [["sport"], ["law"]],
            "multi_label",
            r"train\[1\]: the model has no label 'law'; it knows 'sport', 'l0', .*'l8' and 2 more\. Correct",
        ),
        ([["sport"], []], "single_label", r"train\[0\]: the label is a list, and the model gives each document one"),
        ([0.5, 1.0], "single_label", r"train\[0\]: the label 0\.5 is a value to predict, and the model knows names"),
        ([0.5, 1.0], "multi_label", r"train\[0\]: the label 0\.5 is a value to predict"),
        (["1", "x"], "regression", r"train\[1\]: the label 'x' is not a number"),
        ([["1"]], "regression", r"train\[0\]: the label \['1'\] is not a number"),
    ],
)
def test_a_label_that_does_not_fit_the_model_is_named_with_its_row(labels: list[Any], problem: Any, message: str) -> None:
    known = ["sport", *(f"l{n}" for n in range(11))]
    with pytest.raises(ConfigError, match=message):
        encode_labels(labelled(*labels), known, problem)
