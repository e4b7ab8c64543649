"""``longctx train`` and ``longctx evaluate``: a model and a report out of labelled files, and one line for whatever is wrong."""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")

import torch
from safetensors.torch import load_file

from commands import Outcome, Run
from longctx import LongDocumentModel
from longctx.learn import recipe

FILLER = "The quick brown fox jumps over the lazy dog. " * 6
TELLING = {"cat": "reader reads ", "dog": "chunk row "}
FAST = ["--max-tokens", 16, "--epochs", 2]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write labelled documents, as JSON Lines or as CSV; without labels, those that the model can learn."""

    def labelled(name: str, labels: Sequence[Any] = ("cat", "dog") * 6, *, column: str = "label") -> Path:
        texts = [FILLER + TELLING.get(str(label), "") * 4 + FILLER[: 9 * n] for n, label in enumerate(labels)]
        rows = [{"text": text, column: label} for text, label in zip(texts, labels, strict=True)]
        path = tmp_path / name
        if path.suffix == ".csv":
            path.write_text("".join(f'"{a}",{b}\n' for a, b in [("text", column), *(row.values() for row in rows)]))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return labelled


@pytest.fixture
def train(run: Run, encoder: Path, tmp_path: Path) -> Run:
    """Train on files with a frozen encoder into ``model``, unless the arguments say otherwise."""

    def call(*arguments: object, out: str = "model") -> Outcome:
        return run("train", "--encoder", encoder, "--freeze-encoder", *FAST, "--out", tmp_path / out, *arguments)

    return call


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def are_equal(first: Path, second: Path) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def is_one_line(outcome: Outcome, words: str) -> bool:
    """Whether it ended as wrong input does: status 2, nothing on standard output, one line that says what."""
    line = outcome.err.removesuffix("\n")
    return (outcome.code, outcome.out) == (2, "") and re.fullmatch(rf"longctx: error: .*{words}.*", line) is not None


def test_train_evaluate_and_classify_work_one_after_the_other(run: Run, write: Write, encoder: Path, tmp_path: Path):
    learned, test, model, json_file = write("train.jsonl"), write("test.jsonl"), tmp_path / "model", tmp_path / "report.json"
    columns = ["--text", "text", "--label", "label"]
    options = ["--encoder", encoder, "--freeze-encoder", "--aggregator", "attention", "--out", model, "--seed", 0]
    trained = run("train", learned, *columns, *options, "--learning-rate", 0.05)
    assert (trained.code, trained.out) == (0, "")
    assert f"trained on 12 documents -> {model}" in trained.err
    judged = run("evaluate", model, test, "--train", learned, "--json", json_file)
    report = report_of(json_file)
    assert judged.code == 0
    assert judged.err.splitlines()[-1] == f"report -> {json_file}"
    assert all(line.startswith("read") for line in judged.err.splitlines()[:-1])
    assert judged.out.startswith("# ")
    assert "| this model |" in judged.out
    told = run("classify", test, "--model", model).records
    assert report["accuracy"] == sum(one["label"] == ("cat", "dog")[n % 2] for n, one in enumerate(told)) / len(told)
    assert {"macro_f1", "micro_f1"} < report.keys()
    assert report["per_class"].keys() == {"cat", "dog"}
    assert report["accuracy"] > 0.9
    for control in ("first_row", "tfidf"):
        assert 0 <= report["controls"][control]["accuracy"] <= 1
        assert 0 <= report["controls"][control]["macro_f1"] <= 1


def test_progress_is_one_line_an_epoch(train: Run, write: Write):
    lines = train(write("train.jsonl"), "--validation", write("more.jsonl")).err.splitlines()
    assert [line.split(":")[0] for line in lines if "eval macro f1" in line] == ["epoch 1.0 of 2", "epoch 2.0 of 2"]
    assert lines[0].endswith("documents with the frozen encoder, once")
    assert all(line.startswith(("reading ", "read ", "epoch ", "trained on ")) for line in lines)


def test_without_train_there_are_no_controls_and_reports_are_written_where_asked(run: Run, train: Run, write: Write, tmp_path: Path):
    train(write("train.jsonl"))
    pages = {option: tmp_path / f"report.{option}" for option in ("json", "html")} | {"markdown": tmp_path / "report.md"}
    options = [word for option, path in pages.items() for word in (f"--{option}", path)]
    outcome = run("evaluate", tmp_path / "model", write("test.jsonl"), *options)
    assert outcome.code == 0
    assert report_of(pages["json"])["controls"] == {}
    assert pages["markdown"].read_text(encoding="utf-8").strip() == outcome.out.strip()
    assert "data:image/png" in pages["html"].read_text(encoding="utf-8")


def test_two_runs_with_one_seed_give_equal_weights_and_another_seed_gives_others(train: Run, write: Write, tmp_path: Path):
    data = write("train.jsonl")
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert train(data, "--seed", seed, out=out).code == 0
    assert are_equal(tmp_path / "a", tmp_path / "b")
    assert not are_equal(tmp_path / "a", tmp_path / "c")


def test_the_encoder_learns_unless_it_is_frozen(run: Run, train: Run, write: Write, encoder: Path, tmp_path: Path):
    data, before = write("train.jsonl"), weights(encoder)
    assert train(data, out="frozen").code == 0
    assert run("train", data, "--encoder", encoder, *FAST, "--out", tmp_path / "whole").code == 0
    for out, is_same in (("frozen", True), ("whole", False)):
        after = weights(tmp_path / out)
        assert all(torch.equal(tensor, after[f"encoder.{name}"]) for name, tensor in before.items() if "pooler" not in name) is is_same


@pytest.mark.parametrize(
    ("name", "labels", "problem"),
    [
        ("several.jsonl", [["cat"], ["dog"], [], ["cat", "dog"]] * 3, "multi_label"),
        ("values.csv", [1.5, 2.0, 3.25, 4.0] * 3, "regression"),
        ("grades.csv", [1, 2, 10, 2] * 3, "single_label"),
    ],
)
def test_labels_say_what_is_learned(run: Run, train: Run, write: Write, tmp_path: Path, *, name: str, labels: list[Any], problem: str):
    data = write(name, labels, column="grade")
    assert train(data, "--label", "grade").code == 0
    report_file = tmp_path / "report.json"
    outcome = run("evaluate", tmp_path / "model", data, "--label", "grade", "--train", data, "--json", report_file)
    assert outcome.code == 0, outcome.err
    report = report_of(report_file)
    assert report["problem"] == problem
    assert report["labels"] == {"multi_label": ["cat", "dog"], "regression": ["grade"], "single_label": ["1", "2", "10"]}[problem]
    measure = "mae" if problem == "regression" else "macro_f1"
    assert report["metrics"][measure] is not None
    assert report["controls"]["tfidf"][measure] is not None
    assert len(run("classify", data, "--model", tmp_path / "model").records) == 12


def test_numbers_can_be_learned_as_values_although_none_has_a_fraction(run: Run, train: Run, write: Write, tmp_path: Path):
    data = write("grades.csv", [1, 2, 10, 2] * 3)
    assert train(data, "--problem", "regression").code == 0
    assert isinstance(run("classify", data, "--model", tmp_path / "model").records[0]["label"], float)


def test_the_best_epoch_on_the_validation_documents_is_kept(train: Run, write: Write, tmp_path: Path):
    options = ["--validation", write("more.jsonl"), "--checkpoints", tmp_path / "runs", "--epochs", 8, "--learning-rate", 0.05]
    assert train(write("train.jsonl"), *options).code == 0
    checkpoints = sorted((tmp_path / "runs").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    state = json.loads((checkpoints[-1] / "trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"])
    told = [entry["eval_macro_f1"] for entry in state["log_history"] if "eval_macro_f1" in entry]
    assert state["best_metric"] == max(told)
    assert best != checkpoints[-1]  # or the last epoch would do as well
    assert are_equal(tmp_path / "model", best)
    assert not are_equal(tmp_path / "model", checkpoints[-1])


def test_a_training_that_was_stopped_goes_on_to_the_weights_of_one_that_was_not(
    train: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = write("train.jsonl")
    assert train(data, "--epochs", 4, out="whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(recipe.TellProgress, "on_log", _stop_in_the_third_epoch)
        stopped = train(data, "--epochs", 4, "--checkpoints", tmp_path / "runs")
    assert stopped.code == 130
    assert not (tmp_path / "model").exists()
    (tmp_path / "runs" / "checkpoint-999").mkdir()  # one that was being written
    resumed = train(data, "--epochs", 4, "--checkpoints", tmp_path / "runs")
    assert resumed.code == 0
    assert f"going on from {tmp_path / 'runs' / 'checkpoint-2'}" in resumed.err
    assert "epoch 1.0" not in resumed.err
    assert are_equal(tmp_path / "whole", tmp_path / "model")


def _stop_in_the_third_epoch(self: Any, args: Any, state: Any, control: Any, **options: Any) -> None:
    if state.epoch >= 3:
        raise KeyboardInterrupt


def test_a_training_that_is_finished_gives_its_model_again(train: Run, write: Write, tmp_path: Path):
    data = write("train.jsonl")
    assert train(data, "--checkpoints", tmp_path / "runs").code == 0
    again = train(data, "--checkpoints", tmp_path / "runs", out="again")
    assert again.code == 0
    assert "going on from" in again.err
    assert are_equal(tmp_path / "model", tmp_path / "again")


def test_checkpoints_of_another_model_are_refused(train: Run, write: Write, tmp_path: Path):
    assert train(write("train.jsonl"), "--checkpoints", tmp_path / "runs").code == 0
    outcome = train(write("other.jsonl", ["ant", "bee"] * 6), "--checkpoints", tmp_path / "runs", out="other")
    assert is_one_line(outcome, "another model, labels or row length; give another folder")


def test_an_out_folder_that_holds_something_is_left_as_it_is(train: Run, write: Write, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "letter.txt").write_text("dear")
    assert is_one_line(train(write("train.jsonl")), "is not empty; give a folder that is new or empty")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text", "body"], "no column 'body'"),
        (["--label", "stars"], "no column 'stars'"),
        (["--encoder", "./nowhere"], "nowhere.*no such folder"),
        (["--encoder", "nobody/nothing-at-all"], "nobody/nothing-at-all"),
        (["--aggregator", "sum"], "aggregator='sum' is not known; use one of .*'attention'"),
        (["--encoder-layers", "9"], "has 2 layers; use 1 to 2"),
        (["--problem", "regression"], "the label 'cat' is not a number"),
        (["--problem", "ranking"], "'ranking'"),
        (["--epochs", "0"], "--epochs 0.0: give a number over 0"),
        (["--batch-size", "-1"], "--batch-size -1: give a number over 0"),
        (["--learning-rate", "nan"], "--learning-rate nan: give a number over 0"),
        (["--seed", "-1"], "--seed"),
        (["--max-tokens", "1000"], "reads at most 32 tokens"),
        (["--max-tokens", "2"], "max_tokens=2"),
        (["--overlap-tokens", "99"], "overlap_tokens=99"),
        (["--validation", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--checkpoints", "{file}"], "is a file; give a folder"),
        (["--checkpoints", "{model}/runs"], "lies in --out"),
        (["--out", "{file}"], "is a file; give a folder"),
        (["--out", "{file}/model"], "cannot be written"),
    ],
)
def test_wrong_options_are_one_line(train: Run, run: Run, write: Write, encoder: Path, *, tmp_path: Path, options: list[str], words: str):
    data = write("train.jsonl")
    given = [option.format(file=data, model=tmp_path / "model") for option in options]
    outcome = run("train", data, "--encoder", encoder, "--freeze-encoder", *FAST, "--out", tmp_path / "model", *given)
    assert is_one_line(outcome, words), outcome
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cat", None], "row 1: the label is missing"),
        (["cat", ["dog"]], "row 0: the label 'cat' is no list"),
        (["cat", "cat"], "one label leaves nothing to choose"),
        ([], "no documents"),
    ],
)
def test_wrong_training_documents_are_one_line_that_names_the_row(train: Run, write: Write, labels: list[Any], words: str):
    assert is_one_line(train(write("train.jsonl", labels)), words)


def test_validation_documents_with_an_unknown_label_are_one_line(train: Run, write: Write):
    assert is_one_line(train(write("train.jsonl"), "--validation", write("more.jsonl", ["cat", "bird"])), "more.jsonl row 1: .*'bird'")


def test_balanced_class_weights_of_a_regression_are_one_line(train: Run, write: Write):
    assert is_one_line(train(write("values.csv", [1.5, 2.5]), "--class-weights", "balanced"), "a regression has no classes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{model}", "{birds}"], "birds.jsonl row 1: the model has no label 'bird'"),
        (["{model}", "{test}", "--train", "{birds}"], "birds.jsonl row 1: the model has no label 'bird'"),
        (["{model}", "{lists}"], "lists.jsonl row 0: the label is a list"),
        (["{model}", "{test}", "--text", "body"], "no column 'body'"),
        (["{model}", "{test}", "--json", "report.txt"], "must end in .json"),
        (["{model}", "{test}", "--html", "nowhere/report.html"], "does not exist"),
        (["{model}", "{test}", "--device", "abacus"], "abacus"),
        (["{model}", "nowhere.jsonl"], "nowhere.jsonl"),
        (["./nowhere", "{test}"], "nowhere.*no such folder"),
        (["{encoder}", "{test}"], "has no classification head"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    run: Run, train: Run, write: Write, encoder: Path, *, tmp_path: Path, arguments: list[str], words: str
):
    assert train(write("train.jsonl")).code == 0
    files = {"birds": write("birds.jsonl", ["cat", "bird"]), "lists": write("lists.jsonl", [["cat"]]), "test": write("test.jsonl")}
    given = [argument.format(model=tmp_path / "model", encoder=encoder, **files) for argument in arguments]
    assert is_one_line(run("evaluate", *given), words)


def test_a_missing_package_is_one_line_that_names_the_extra(train: Run, write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert is_one_line(train(write("train.jsonl")), r"need accelerate; install it with: pip install longctx\[train\]")


def test_a_full_disk_is_one_line(train: Run, write: Write, monkeypatch: pytest.MonkeyPatch):
    def fill(self: Any, folder: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LongDocumentModel, "save_pretrained", fill)
    outcome = train(write("train.jsonl"))
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(r"longctx: error: --out .*No space left on device\)\.", outcome.err.splitlines()[-1])


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_shows_an_example(run: Run, command: str):
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert f"Example: longctx {command}" in outcome.out
