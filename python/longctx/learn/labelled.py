"""Labelled documents from wherever they are, and their labels as numbers.

Whatever holds them, the same documents come out: texts that are not blank, labels of one kind, and a place for each document that
errors can name.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError, DocumentError, DocumentTypeError, one_line
from longctx.learn.columns import plain, read_columns
from longctx.results import Problem

Label = str | list[str] | float
Labels = list[str] | list[list[str]] | list[float]
Truth = NDArray[np.int64] | NDArray[np.bool_] | NDArray[np.float64]
_MOST_LABELS_SHOWN = 10


@dataclass(frozen=True)
class LabelledDocuments:
    """Documents with what is to be learned about them. Made by ``read_labelled``, which checks them.

    Attributes:
        texts: the documents; none is blank.
        labels: one ``str`` a document (single-label), one list of ``str`` (multi-label; it may be empty) or one ``float`` (regression).
        places: how errors name each document: ``"train.jsonl row 3"``, ``"train[17]"``. Rows count from 0.
    """

    texts: Sequence[str]
    labels: Labels
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


def read_labelled(source: Any, *, text: str = "text", label: str = "label", name: str = "train") -> LabelledDocuments:
    """Read labelled documents, all of them, and check every one.

    Whole numbers and truth values are names of classes and become ``str``. Numbers are values to predict as soon as one of them has a
    fraction; a CSV file has no types, so there a column of nothing but numbers goes by the same rule. A list of labels makes it a
    multi-label problem. A ``ClassLabel`` of datasets gives its names.

    Args:
        source: one path or several (.jsonl, .jsonl.gz, .csv, .tsv, .parquet); a ``datasets.Dataset``; a pandas, polars or Arrow table;
            a list of ``(text, label)`` pairs; a list of dicts; a dict of columns; or ``LabelledDocuments``, which come back as they are.
        text: the column that holds the documents.
        label: the column that holds their labels.
        name: what errors call a source that has no name of its own.

    Raises:
        ConfigError: the source holds no documents, has no such column, or is nothing that can be read.
        ReadError: a file cannot be read, or has no such column.
        DocumentError: a text is missing or blank, a label is missing or of a wrong type, NaN or infinite. The message names the row.
        DocumentTypeError: a text is no string.

    >>> read_labelled([("a fine film", "pos"), ("a dull one", "neg")])
    LabelledDocuments(texts=['a fine film', 'a dull one'], labels=['pos', 'neg'], places=['train[0]', 'train[1]'])
    """
    if isinstance(source, LabelledDocuments):
        return source
    texts, labels, places = read_columns(source, text, label, name)
    if not texts:
        raise ConfigError(f"{name} holds no documents; give at least one with its label.")
    for index, value in enumerate(texts):
        _check_text(value, places[index], index)
    return LabelledDocuments(texts, _settled(labels, places), places)


def _check_text(text: Any, place: str, index: int) -> None:
    if text is None:
        raise DocumentError(f"{place}: the text is missing (null); leave the row out, or give it a text.", index)
    if not isinstance(text, str):
        raise DocumentTypeError(f"{place}: the text is a {type(text).__name__}, not a string.")
    if not text.strip():
        raise DocumentError(f"{place}: the text is {'blank' if text else 'empty'}; leave the row out, or give it a text.", index)


def _settled(values: list[Any], places: Sequence[str]) -> Labels:
    """Labels of one kind: lists of names, numbers, or names."""
    labels = [plain(value) for value in values]
    for index, label in enumerate(labels):
        _check_label(label, places[index], index)
    if any(isinstance(label, list) for label in labels):
        return _name_lists(labels, places)
    odd = next((index for index, label in enumerate(labels) if isinstance(label, float) and not label.is_integer()), None)
    if odd is None:
        return [_name(label) for label in labels]
    for index, label in enumerate(labels):
        if isinstance(label, str | bool):
            problem = f"the label {label!r} is no number, but that of {places[odd]} is ({labels[odd]})"
            raise DocumentError(f"{places[index]}: {problem}; give names, or numbers to predict.", index)
    return [float(label) for label in labels]


def _check_label(label: Any, place: str, index: int) -> None:
    for item in label if isinstance(label, list) else [label]:
        if item is None or (isinstance(item, str) and not item.strip()):
            raise DocumentError(
                f"{place}: the label is missing ({'null' if item is None else 'blank'}); leave the row out, or label it.", index
            )
        if not isinstance(item, str | int | float):
            _refuse(label, place, index)
        if isinstance(item, float) and not math.isfinite(item):
            raise DocumentError(f"{place}: the label is {item}, not a finite number; leave the row out, or label it.", index)
    if isinstance(label, list) and any(isinstance(item, float) and not item.is_integer() for item in label):
        _refuse(label, place, index)


def _refuse(label: Any, place: str, index: int) -> NoReturn:
    shown = one_line(ValueError(repr(label)), 80)
    raise DocumentError(f"{place}: the label {shown} is a {type(label).__name__}; give a name, a number or a list of names.", index)


def _name_lists(labels: list[Any], places: Sequence[str]) -> list[list[str]]:
    for index, label in enumerate(labels):
        if not isinstance(label, list):
            problem = f"the label {label!r} is no list, but others are"
            raise DocumentError(f"{places[index]}: {problem}; give every document a list of labels, or none of them.", index)
    return [[_name(item) for item in label] for label in labels]


def _name(label: str | int | float) -> str:
    """Name a class. Tables write whole numbers as 1.0 once a value of the column was missing."""
    return str(int(label)) if isinstance(label, float) else str(label)


def infer_problem(labels: Labels) -> Problem:
    """Say what is to be learned from labels such as ``read_labelled`` gives.

    >>> infer_problem(["pos", "neg"]), infer_problem([["law"], []]), infer_problem([3.5, 4.0])
    ('single_label', 'multi_label', 'regression')
    """
    first = labels[0]
    if isinstance(first, list):
        return "multi_label"
    return "regression" if isinstance(first, float) else "single_label"


def label_names(labels: Labels, problem: Problem) -> list[str]:
    """Each name once, sorted as people count: numbers as numbers. Values to predict have no names.

    >>> label_names(["grade 10", "grade 9", "grade 10"], "single_label")
    ['grade 9', 'grade 10']
    """
    if problem == "regression":
        return []
    names = {str(name) for label in labels for name in (label if isinstance(label, list) else [label])}
    return sorted(names, key=_by_number if all(_is_number(name) for name in names) else _by_parts)


def encode_labels(documents: LabelledDocuments, labels: Sequence[str], problem: Problem) -> Truth:
    """Labels as the numbers that losses and metrics take.

    Args:
        documents: what ``read_labelled`` gave.
        labels: the model's, in the order of its outputs; not used for regression.
        problem: the model's. Single labels are taken for a multi-label model, and names that are numbers for a regression.

    Returns:
        int64 ``(n_documents,)`` for single-label, bool ``(n_documents, n_labels)`` for multi-label, float64 ``(n_documents, 1)`` for
        regression.

    Raises:
        ConfigError: the model does not know a label, or its problem is another one. The message names the row.

    >>> encode_labels(read_labelled([("a fine film", "pos"), ("a dull one", "neg")]), ["neg", "pos"], "single_label")
    array([1, 0])
    """
    pairs: list[tuple[Label, str]] = list(zip(documents.labels, documents.places, strict=True))
    if problem == "regression":
        return np.array([[_number(label, place)] for label, place in pairs], dtype=np.float64)
    index_of = {name: index for index, name in enumerate(labels)}
    if problem == "single_label":
        return np.array([_index(label, place, index_of) for label, place in pairs], dtype=np.int64)
    truth = np.zeros((len(pairs), len(labels)), dtype=np.bool_)
    for row, (label, place) in enumerate(pairs):
        for name in label if isinstance(label, list) else [label]:
            truth[row, _index(name, place, index_of)] = True
    return truth


def _number(label: Label, place: str) -> float:
    number = math.nan
    if isinstance(label, float) or (isinstance(label, str) and _is_number(label)):
        number = float(label)
    if not math.isfinite(number):
        raise ConfigError(f"{place}: the label {label!r} is not a number, and the model predicts one; give numbers.")
    return number


def _index(label: Label, place: str, index_of: dict[str, int]) -> int:
    if isinstance(label, list):
        raise ConfigError(
            f"{place}: the label is a list, and the model gives each document one; give one label, or use a multi-label model."
        )
    if isinstance(label, float):
        raise ConfigError(f"{place}: the label {label} is a value to predict, and the model knows names; give names, or use a regression.")
    if label not in index_of:
        raise ConfigError(f"{place}: {_unknown(label, list(index_of))}")
    return index_of[label]


def _unknown(label: str, known: list[str]) -> str:
    close = difflib.get_close_matches(label, known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(map(repr, known[:_MOST_LABELS_SHOWN]))
    more = f" and {len(known) - _MOST_LABELS_SHOWN} more" if len(known) > _MOST_LABELS_SHOWN else ""
    return f"the model has no label {label!r}; it knows {shown}{more}.{meant} Correct the label, or train a model that has it."


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _by_number(name: str) -> tuple[float, str]:
    return float(name), name


def _by_parts(name: str) -> tuple[list[tuple[int, str]], str]:
    """Digits by their value, of which longer is larger; the rest by its characters."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if at % 2 else (0, part) for at, part in enumerate(parts)], name
