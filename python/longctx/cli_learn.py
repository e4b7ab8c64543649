"""``longctx train`` and ``longctx evaluate``: thin over ``longctx.learn``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from longctx.cli_output import say
from longctx.data.writers import WriteError, check_output
from longctx.errors import ConfigError, one_line

if TYPE_CHECKING:
    from longctx.learn.labelled import LabelledDocuments
    from longctx.nn.model import LongDocumentModel

Files = Annotated[list[Path], typer.Argument(help="Labelled documents: .jsonl, .jsonl.gz, .csv, .tsv or .parquet.")]
Text = Annotated[str, typer.Option("--text", help="Column that holds the text.")]
Label = Annotated[str, typer.Option("--label", help="Column that holds the label: a name, a list of names, or a number.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed on the same machine gives the same result.")]


def train(
    files: Files,
    *,
    text: Text = "text",
    label: Label = "label",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model; must be new or empty.")],
    encoder: Annotated[str, typer.Option(help="minilm (needs the extra of that name), a folder, or a hub id.")] = "minilm",
    freeze_encoder: Annotated[bool, typer.Option("--freeze-encoder", help="Only aggregator and head learn; minutes on a CPU.")] = False,
    encoder_layers: Annotated[
        int | None, typer.Option(help="Keep only so many of the encoder's layers, from below; 4 for a frozen minilm.")
    ] = None,
    aggregator: Annotated[str, typer.Option(help="How chunks become a document, like attention or label_attention.")] = "auto",
    problem: Annotated[
        Literal["auto", "single_label", "multi_label", "regression"], typer.Option(help="auto goes by the labels.")
    ] = "auto",
    validation: Annotated[
        list[Path] | None, typer.Option(help="More labelled documents, judged after every epoch; the best epoch is kept.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Length of a row; without it, what the encoder allows, and 128 for a frozen minilm.")
    ] = None,
    overlap_tokens: Annotated[int | None, typer.Option(help="Tokens that neighbouring chunks share.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the documents.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Documents of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak.")] = None,
    class_weights: Annotated[
        Literal["none", "balanced"], typer.Option(help="balanced: rare classes count as much as common ones.")
    ] = "none",
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for a checkpoint an epoch; a training that stopped goes on from the last.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Train a model on documents of any length and save it. Progress is told on standard error."""
    _check_folders(out, checkpoints)
    _check_positive({"--epochs": epochs, "--batch-size": batch_size, "--learning-rate": learning_rate})
    settings = _given(num_train_epochs=epochs, per_device_train_batch_size=batch_size, learning_rate=learning_rate)
    from longctx.learn.labelled import read_labelled

    documents = read_labelled(list(files), text=text, label=label)
    judged = None if validation is None else read_labelled(list(validation), text=text, label=label, name="validation")
    lengths = _given(encoder_layers=encoder_layers, max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    model = _new_model(documents, label, problem, encoder, aggregator, seed=seed, **_reading(encoder, freeze_encoder, lengths))
    with TemporaryDirectory() as scratch:
        folder = scratch if checkpoints is None else checkpoints
        _train(
            model,
            documents,
            judged,
            folder,
            {**settings, "seed": seed},
            freeze_encoder=freeze_encoder,
            class_weights=class_weights,
            resumes=checkpoints is not None,
        )
    _save(model, out)
    say(f"trained on {len(documents):,} documents -> {out}")


def evaluate(
    model: Annotated[str, typer.Argument(help="A saved model: folder or hub id.")],
    files: Files,
    *,
    text: Text = "text",
    label: Label = "label",
    train: Annotated[list[Path] | None, typer.Option(help="What it was trained on: also judge two controls that learn from it.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report to a .json file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to a .html file, with pictures.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report to a .md file.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Judge a model on labelled documents: F1 with intervals, calibration, confusion, by length, and beside controls."""
    targets = {".json": json, ".html": html, ".md": markdown}
    for ending, path in targets.items():
        if path is not None:
            check_output(path, endings=(ending,))
    from longctx.learn.evaluation import evaluate as judge
    from longctx.learn.recipe import told_reading

    with told_reading():
        report = judge(model, list(files), train=train and list(train), text=text, label=label, seed=seed, device=device)
    report.to_json(json)
    if html is not None:
        report.to_html(html)
    typer.echo(report.to_markdown(markdown))
    for path in targets.values():
        if path is not None:
            say(f"report -> {path}")


def _reading(encoder: str, freeze_encoder: bool, given: dict[str, int]) -> dict[str, int]:
    from longctx.learn.recipe import FROZEN_MINILM
    from longctx.nn.encoders import PACKAGED

    return {**FROZEN_MINILM, **given} if freeze_encoder and encoder == PACKAGED else given


def _new_model(documents: LabelledDocuments, column: str, problem: str, encoder: str, aggregator: str, **options: Any) -> LongDocumentModel:
    from longctx.learn.labelled import infer_problem, label_names
    from longctx.nn.model import LongDocumentModel

    kind: Any = infer_problem(documents.labels) if problem == "auto" else problem
    names = label_names(documents.labels, kind) or [column]
    return LongDocumentModel.from_encoder(encoder, labels=names, problem=kind, aggregator=aggregator, **options)


def _train(
    model: LongDocumentModel,
    documents: LabelledDocuments,
    judged: LabelledDocuments | None,
    folder: str | Path,
    settings: dict[str, Any],
    *,
    freeze_encoder: bool,
    class_weights: str,
    resumes: bool,
) -> None:
    from longctx.learn.recipe import HEAD_LEARNING_RATE, quiet, told_reading, training_arguments
    from longctx.learn.trainer import Trainer

    if resumes or judged is not None:
        settings |= {"save_strategy": "epoch", "save_total_limit": 2}
    if judged is not None:
        best = "eval_mae" if model.config.problem == "regression" else "eval_macro_f1"
        settings |= {"eval_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": best}
    with told_reading():
        trainer = Trainer(
            model,
            training_arguments(
                folder, freeze_encoder=freeze_encoder, aggregator=model.config.aggregator, n_documents=len(documents), **settings
            ),
            train=documents,
            validation=judged,
            freeze_encoder=freeze_encoder,
            head_learning_rate=None if freeze_encoder else HEAD_LEARNING_RATE,
            class_weights=None if class_weights == "none" else "balanced",
        )
    last = _last_checkpoint(Path(folder), model) if resumes else None
    if last is not None:
        say(f"going on from {last}")
    quiet(trainer).train(resume_from_checkpoint=None if last is None else str(last))


def _save(model: LongDocumentModel, out: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(out)
    except (OSError, SafetensorError) as error:
        raise WriteError(f"--out {str(out)!r}: the model cannot be written ({one_line(error)}).") from error


def _last_checkpoint(folder: Path, model: LongDocumentModel) -> Path | None:
    """Find the latest checkpoint that is whole; None where there is none.

    It must be of this model, or its weights would mean other things.
    """
    from longctx.nn.model_files import find_saved

    # The state of the trainer is written last: a checkpoint without it was being written when the training stopped.
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    if not whole:
        return None
    last = max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")))
    if find_saved(str(last)) != model.config:
        raise ConfigError(f"--checkpoints {str(folder)!r} holds a training of another model, labels or row length; give another folder.")
    return last


def _check_folders(out: Path, checkpoints: Path | None) -> None:
    """Fail before the work where its result could not be written."""
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out {str(out)!r} is not empty; give a folder that is new or empty, so that nothing is overwritten.")
    _check_folder("--out", out)
    if checkpoints is not None:
        _check_folder("--checkpoints", checkpoints)
        if checkpoints.resolve().is_relative_to(out.resolve()):
            raise ConfigError(
                f"--checkpoints {str(checkpoints)!r} lies in --out {str(out)!r}, which is for the model; give another folder."
            )


def _check_folder(option: str, folder: Path) -> None:
    if folder.is_file():
        raise ConfigError(f"{option} {str(folder)!r} is a file; give a folder.")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise WriteError(f"{option} {str(folder)!r} cannot be written, because of {str(there)!r}; give another folder.")


def _check_positive(options: dict[str, float | None]) -> None:
    for option, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{option} {value}: give a number over 0.")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
