"""Labelled documents: every source gives the same ones, and every error names the row."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longctx.errors import ConfigError, DocumentError, DocumentTypeError, LongctxError, ReadError
from longctx.learn.labelled import LabelledDocuments, infer_problem, read_labelled

TEXTS = ["a fine film", 'one "quoted", line\nand another', "\u6587\u66f8 \U0001f600", "fine"]
NAMES = ["pos", "neg", "neg", "p, q"]
MANY = [["law", "tax"], [], ["tax"], ["law"]]
VALUES = [0.5, 2.0, -1.25, 3.0]


def write_jsonl(path: Path, labels: list[Any]) -> Path:
    lines = (json.dumps({"id": n, "text": text, "label": label}) for n, (text, label) in enumerate(zip(TEXTS, labels, strict=True)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_jsonl_gz(path: Path, labels: list[Any]) -> Path:
    path.write_bytes(gzip.compress(write_jsonl(path, labels).read_bytes()))
    return path


def write_parquet(path: Path, labels: list[Any]) -> Path:
    pq.write_table(table(labels), path, row_group_size=3)
    return path


def write_csv(path: Path, labels: list[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerows([["label", "text"], *zip(labels, TEXTS, strict=True)])
    return path


def columns(labels: list[Any]) -> dict[str, list[Any]]:
    return {"text": TEXTS, "label": labels}


def table(labels: list[Any]) -> pa.Table:
    return pa.table(columns(labels))


def dataset(labels: list[Any], **features: Any) -> Any:
    from datasets import Dataset, Features, Value

    if not features:
        return Dataset.from_dict(columns(labels))
    return Dataset.from_dict(columns(labels), features=Features({"text": Value("string"), **features}))


FILES: Mapping[str, Callable[[Path, list[Any]], Path]] = {
    "train.jsonl": write_jsonl,
    "train.jsonl.gz": write_jsonl_gz,
    "train.parquet": write_parquet,
}
IN_MEMORY: Mapping[str, Callable[[list[Any]], Any]] = {
    "pairs": lambda labels: list(zip(TEXTS, labels, strict=True)),
    "generator": lambda labels: ([text, label] for text, label in zip(TEXTS, labels, strict=True)),
    "dicts": lambda labels: [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)],
    "columns": columns,
    "arrow": table,
    "pandas": lambda labels: pd.DataFrame(columns(labels)),
    "polars": lambda labels: pl.DataFrame(columns(labels)),
    "dataset": dataset,
    "streamed dataset": lambda labels: dataset(labels).to_iterable_dataset(),
}


@pytest.mark.parametrize("labels", [NAMES, MANY, VALUES], ids=["names", "lists", "values"])
@pytest.mark.parametrize("make", IN_MEMORY.values(), ids=IN_MEMORY)
def test_every_object_gives_the_same_documents(make: Callable[[list[Any]], Any], labels: list[Any]) -> None:
    assert read_labelled(make(labels)) == LabelledDocuments(TEXTS, labels, [f"train[{n}]" for n in range(4)])


@pytest.mark.parametrize("labels", [NAMES, MANY, VALUES], ids=["names", "lists", "values"])
@pytest.mark.parametrize("name", FILES)
def test_every_file_gives_the_same_documents(tmp_path: Path, name: str, labels: list[Any]) -> None:
    path = FILES[name](tmp_path / name, labels)
    assert read_labelled(path) == LabelledDocuments(TEXTS, labels, [f"{path} row {n}" for n in range(4)])


@pytest.mark.parametrize("labels", [NAMES, VALUES], ids=["names", "values"])
@pytest.mark.parametrize("name", ["train.csv", "TRAIN.TSV"])
def test_cells_of_a_csv_file_are_names_or_values(tmp_path: Path, name: str, labels: list[Any]) -> None:
    path = write_csv(tmp_path / name, labels)
    assert read_labelled(str(path)) == LabelledDocuments(TEXTS, labels, [f"{path} row {n}" for n in range(4)])


@pytest.mark.parametrize("labels", [[1, 0, 0, 10], [1.0, 0.0, 0.0, 10.0]], ids=["int", "float"])
def test_whole_numbers_are_names_wherever_they_come_from(tmp_path: Path, labels: list[Any]) -> None:
    expected = ["1", "0", "0", "10"]
    for make in IN_MEMORY.values():
        assert read_labelled(make(labels)).labels == expected
    for name, write in FILES.items():
        assert read_labelled(write(tmp_path / name, labels)).labels == expected
    assert read_labelled(write_csv(tmp_path / "t.csv", [1, 0, 0, 10])).labels == expected


def test_truth_values_are_names() -> None:
    for make in IN_MEMORY.values():
        assert read_labelled(make([True, False, False, True])).labels == ["True", "False", "False", "True"]


def test_numbers_are_values_as_soon_as_one_has_a_fraction() -> None:
    assert read_labelled([("a", 1), ("b", 2.5)]).labels == [1.0, 2.5]


def test_csv_files_have_one_type_together(tmp_path: Path) -> None:
    whole, fraction = write_csv(tmp_path / "a.csv", [1, 2, 3, 4]), write_csv(tmp_path / "b.csv", VALUES)
    assert read_labelled([whole, fraction]).labels == [1.0, 2.0, 3.0, 4.0, *VALUES]
    assert read_labelled(tmp_path).labels == [1.0, 2.0, 3.0, 4.0, *VALUES]


def test_several_files_follow_each_other_with_their_own_rows(tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / "a.jsonl", NAMES), write_parquet(tmp_path / "b.parquet", NAMES)]
    documents = read_labelled(paths)
    assert documents.labels == NAMES * 2
    assert [documents.places[3], documents.places[4]] == [f"{paths[0]} row 3", f"{paths[1]} row 0"]


def test_labelled_documents_come_back_as_they_are() -> None:
    documents = read_labelled([("a", "b")])
    assert read_labelled(documents) is documents
    assert len(documents) == 1


def test_class_labels_of_a_data_set_give_their_names() -> None:
    from datasets import ClassLabel, List

    kinds = ClassLabel(names=["neg", "pos"])
    assert read_labelled(dataset([1, 0, 0, 1], label=kinds)).labels == ["pos", "neg", "neg", "pos"]
    assert read_labelled(dataset([1, 0, 0, 1], label=kinds).to_iterable_dataset()).labels == ["pos", "neg", "neg", "pos"]
    assert read_labelled(dataset([[1], [], [0, 1], [0]], label=List(kinds))).labels == [["pos"], [], ["neg", "pos"], ["neg"]]
    with pytest.raises(DocumentError, match=r"train\[2\]: the label is missing"):
        read_labelled(dataset([1, 0, -1, 1], label=kinds))


def test_numpy_and_categories_are_read() -> None:
    assert read_labelled({"text": np.array(TEXTS), "label": np.array([3, 1, 2, 1])}).labels == ["3", "1", "2", "1"]
    assert read_labelled({"text": TEXTS, "label": np.array(VALUES, np.float32)}).labels == VALUES
    assert read_labelled(pd.DataFrame({"text": TEXTS, "label": pd.Categorical(NAMES)})).labels == NAMES
    assert read_labelled({"text": pd.Series(TEXTS), "label": pa.array(NAMES)}).labels == NAMES
    assert read_labelled([("a", (np.str_("x"), "y")), ("b", {"z"})]).labels == [["x", "y"], ["z"]]


def test_columns_that_arrow_cannot_hold_do_not_stand_in_the_way() -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": NAMES, "other": [1, "x", object(), {}]})
    assert read_labelled(frame).labels == NAMES


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("review,stars\nfine,5\n")
    for source in (tmp_path / "t.csv", [{"review": "fine", "stars": 5}], {"review": ["fine"], "stars": [5]}):
        documents = read_labelled(source, text="review", label="stars")
        assert (documents.texts, documents.labels) == (["fine"], ["5"])


def test_the_problem_is_seen_from_the_labels() -> None:
    assert [infer_problem(read_labelled(columns(labels)).labels) for labels in (NAMES, MANY, VALUES)] == [
        "single_label",
        "multi_label",
        "regression",
    ]


# errors


BROKEN: Mapping[str, tuple[Any, Any, str]] = {
    "null text": (None, "x", r"the text is missing \(null\)"),
    "empty text": ("", "x", "the text is empty"),
    "blank text": (" \n\t", "x", "the text is blank"),
    "null label": ("a", None, r"the label is missing \(null\)"),
    "blank label": ("a", " ", r"the label is missing \(blank\)"),
}


@pytest.mark.parametrize(("text", "label", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("make", IN_MEMORY.values(), ids=IN_MEMORY)
def test_what_is_missing_is_named_with_its_row(make: Callable[[list[Any]], Any], text: Any, label: Any, message: str) -> None:
    texts, labels = [*TEXTS[:2], text, TEXTS[3]], ["x", "y", label, "z"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.TEXTS", texts)
        source = make(labels)
        with pytest.raises(DocumentError, match=rf"^test\[2\]: {message}") as caught:
            read_labelled(source, name="test")
    assert caught.value.document_index == 2


@pytest.mark.parametrize("line", ['{"text": "", "label": "x"}', '{"text": " ", "label": "x"}', '{"text": "a", "label": null}'])
def test_what_is_missing_in_a_file_is_named_with_its_row(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f'{{"text": "a", "label": "x"}}\n{line}\n')
    with pytest.raises(DocumentError, match=r"train\.jsonl row 1: the (text|label) is (empty|blank|missing)"):
        read_labelled(path)
    pq.write_table(pa.Table.from_pylist([{"text": "a", "label": "x"}, json.loads(line)]), tmp_path / "t.parquet")
    with pytest.raises(DocumentError, match=r"t\.parquet row 1: the"):
        read_labelled(tmp_path / "t.parquet")


def test_an_empty_cell_is_no_label(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["0.5", "", "1.5", "2"])
    with pytest.raises(DocumentError, match=r"t\.csv row 1: the label is missing \(blank\)"):
        read_labelled(path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x", {"y": 1}], r"train\[1\]: the label \{'y': 1\} is a dict"),
        (["x", b"y"], r"train\[1\]: the label b'y' is a bytes"),
        (["x", [["y"]]], r"train\[1\]: the label \[\['y'\]\] is a list"),
        ([["x"], [0.5]], r"train\[1\]: the label \[0\.5\] is a list"),
        ([["x"], [None]], r"train\[1\]: the label is missing \(null\)"),
        ([["x"], [""]], r"train\[1\]: the label is missing \(blank\)"),
        ([0.5, float("nan")], r"train\[1\]: the label is nan, not a finite number"),
        (["x", float("inf")], r"train\[1\]: the label is inf, not a finite number"),
        ([0.5, "x"], r"train\[1\]: the label 'x' is no number, but that of train\[0\] is \(0\.5\)"),
        ([True, 0.5], r"train\[0\]: the label True is no number, but that of train\[1\] is"),
        ([["x"], "y"], r"train\[1\]: the label 'y' is no list"),
    ],
)
def test_a_label_of_a_wrong_type_is_named_with_its_row(labels: list[Any], message: str) -> None:
    for source in ([("a", labels[0]), ("b", labels[1])], {"text": ["a", "b"], "label": labels}):
        with pytest.raises(DocumentError, match=message):
            read_labelled(source)


def test_not_a_number_in_json_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 0.5}\n{"text": "b", "label": NaN}\n')
    with pytest.raises(DocumentError, match=r"t\.jsonl row 1: the label is nan"):
        read_labelled(tmp_path / "t.jsonl")


def test_a_text_of_a_wrong_type_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(DocumentTypeError, match=r"train\[1\]: the text is a int, not a string"):
        read_labelled([("a", "x"), (5, "y")])
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 1}\n{"text": 5, "label": 1}\n')
    with pytest.raises(ReadError, match=r"t\.jsonl', line 2: the text is a int"):
        read_labelled(tmp_path / "t.jsonl")


def test_a_label_that_is_half_a_character_is_named_with_its_line(tmp_path: Path) -> None:
    for number, label in enumerate(('"\\ud800"', '["x", "\\ud800"]')):
        path = tmp_path / f"{number}.jsonl"
        path.write_text('{"text": "a", "label": ' + label + "}\n")
        with pytest.raises(ReadError, match=r"line 1: character 0 is a lone surrogate"):
            read_labelled(path)


@pytest.mark.parametrize("make", [make for name, make in IN_MEMORY.items() if name not in {"pairs", "generator"}])
def test_a_missing_column_is_named_with_those_there_are(make: Callable[[list[Any]], Any]) -> None:
    with pytest.raises(ConfigError, match=r"^train(\[0\])?: no column 'stars'; available columns: 'text', 'label'"):
        read_labelled(make(NAMES), label="stars")


def test_a_row_without_the_column_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^train\[1\]: no column 'label'; available columns: 'text'"):
        read_labelled([{"text": "a", "label": "x"}, {"text": "b"}])


@pytest.mark.parametrize("name", [*FILES, "t.csv", "t.tsv"])
def test_a_missing_column_of_a_file_is_named_with_those_there_are(tmp_path: Path, name: str) -> None:
    path = FILES.get(name, write_csv)(tmp_path / name, NAMES)
    with pytest.raises(ReadError, match=r"no column 'stars'; available columns: .*'text'"):
        read_labelled(path, label="stars")


def test_a_text_file_has_no_label(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a")
    with pytest.raises(ReadError, match=r"t\.txt': a text file has no column 'label'; give \.jsonl"):
        read_labelled(tmp_path / "t.txt")


@pytest.mark.parametrize(
    "source", [[], {"text": [], "label": []}, pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})]
)
def test_a_data_set_of_nothing_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="validation holds no documents"):
        read_labelled(source, name="validation")


def test_a_file_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\n")
    with pytest.raises(ConfigError, match="train holds no documents"):
        read_labelled(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (5, ConfigError, "int holds no labelled documents; give paths"),
        (b"text", ConfigError, "bytes holds no labelled documents"),
        ([1, 2], DocumentTypeError, r"train\[0\]: a int where a \(text, label\) pair"),
        ([("a", "b", "c")], DocumentTypeError, r"train\[0\]: a tuple where"),
        ({"text": "abc", "label": ["x"]}, ConfigError, "column 'text' is a str, where a list of values"),
        ({"text": ["a", "b"], "label": ["x"]}, ConfigError, "column 'text' has 2 values and column 'label' has 1"),
        (pa.array(["a"]), LongctxError, "train"),
        (pd.Series(["a"]), ConfigError, "this Series is no table"),
        (pd.DataFrame([["a", "x", "y"]], columns=["text", "label", "label"]), ConfigError, "2 columns are called 'label'"),
        ("nowhere.jsonl", ReadError, "no such file"),
    ],
)
def test_what_holds_no_labelled_documents_is_refused(source: Any, kind: type[LongctxError], message: str) -> None:
    with pytest.raises(kind, match=message):
        read_labelled(source)


def test_of_a_dict_of_data_sets_one_is_asked_for() -> None:
    from datasets import DatasetDict

    splits = DatasetDict(train=dataset(NAMES), test=dataset(NAMES))
    with pytest.raises(ConfigError, match=r"a dict of data sets \(train, test\); give one of them, like dataset\['train'\]"):
        read_labelled(splits)
