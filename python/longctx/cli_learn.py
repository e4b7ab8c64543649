"""``longctx train`` and ``longctx evaluate``: thin over ``longctx.learn``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from longctx.cli_output import say
from longctx.data.writers import check_output
from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.learn.labelled import LabelledDocuments
    from longctx.nn.model import LongDocumentModel

Files = Annotated[list[Path], typer.Argument(help="Labelled documents: .jsonl, .jsonl.gz, .csv, .tsv or .parquet.")]
Text = Annotated[str, typer.Option("--text", help="Column that holds the text.")]
Label = Annotated[str, typer.Option("--label", help="Column that holds the label: a name, a list of names, or a number.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(help="The same seed on the same machine gives the same result.")]


def train(
    files: Files,
    *,
    text: Text = "text",
    label: Label = "label",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model; must be new or empty.")],
    encoder: Annotated[str, typer.Option(help="minilm (the extra longctx[minilm]), a folder, or a hub id.")] = "minilm",
    freeze_encoder: Annotated[bool, typer.Option("--freeze-encoder", help="Only aggregator and head learn; minutes on a CPU.")] = False,
    encoder_layers: Annotated[int | None, typer.Option(help="Keep only so many of the encoder's layers, from below.")] = None,
    aggregator: Annotated[str, typer.Option(help="How chunks become a document, like attention or label_attention.")] = "auto",
    problem: Annotated[
        Literal["auto", "single_label", "multi_label", "regression"], typer.Option(help="auto goes by the labels.")
    ] = "auto",
    validation: Annotated[
        list[Path] | None, typer.Option(help="More labelled documents, judged after every epoch; the best epoch is kept.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Length of a row; without it, what the encoder allows.")] = None,
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
    _check_folder(out)
    from longctx.learn.labelled import read_labelled

    documents = read_labelled(list(files), text=text, label=label)
    judged = None if validation is None else read_labelled(list(validation), text=text, label=label, name="validation")
    settings = _given(num_train_epochs=epochs, per_device_train_batch_size=batch_size, learning_rate=learning_rate)
    settings["seed"] = seed
    model = _new_model(
        documents,
        label,
        problem,
        encoder,
        aggregator=aggregator,
        encoder_layers=encoder_layers,
        max_tokens=max_tokens,
        overlap_tokens=overlap_tokens,
        seed=seed,
    )
    with TemporaryDirectory() as scratch:
        folder = scratch if checkpoints is None else checkpoints
        _train(
            model,
            documents,
            judged,
            folder,
            settings,
            freeze_encoder=freeze_encoder,
            class_weights=class_weights,
            resumes=checkpoints is not None,
        )
    model.save_pretrained(out)
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

    report = judge(model, list(files), train=train and list(train), text=text, label=label, seed=seed, device=device)
    report.to_json(json)
    if html is not None:
        report.to_html(html)
    typer.echo(report.to_markdown(markdown))
    for path in targets.values():
        if path is not None:
            say(f"report -> {path}")


def _new_model(documents: LabelledDocuments, column: str, problem: str, encoder: str, **options: Any) -> LongDocumentModel:
    from longctx.learn.labelled import infer_problem, label_names
    from longctx.nn.model import LongDocumentModel

    kind: Any = infer_problem(documents.labels) if problem == "auto" else problem
    names = label_names(documents.labels, kind) or [column]
    return LongDocumentModel.from_encoder(encoder, labels=names, problem=kind, **options)


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
    from transformers.trainer_utils import get_last_checkpoint

    from longctx.learn.recipe import HEAD_LEARNING_RATE, quiet, training_arguments
    from longctx.learn.trainer import Trainer

    if resumes or judged is not None:
        settings |= {"save_strategy": "epoch", "save_total_limit": 2}
    if judged is not None:
        best = "eval_mae" if model.config.problem == "regression" else "eval_macro_f1"
        settings |= {"eval_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": best}
    trainer = Trainer(
        model,
        training_arguments(folder, freeze_encoder=freeze_encoder, **settings),
        train=documents,
        validation=judged,
        freeze_encoder=freeze_encoder,
        head_learning_rate=None if freeze_encoder else HEAD_LEARNING_RATE,
        class_weights=None if class_weights == "none" else "balanced",
    )
    last = get_last_checkpoint(str(folder)) if resumes and Path(folder).is_dir() else None  # type: ignore[no-untyped-call]  # as above
    quiet(trainer).train(resume_from_checkpoint=last)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a file; give a folder that is new or empty.")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out {str(out)!r} is not empty; give a folder that is new or empty, so that nothing is overwritten.")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
