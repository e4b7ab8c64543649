"""Settings that train well without being asked: those of the command line and of the examples."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import transformers

from longctx.learn.extras import train_extra

HEAD_LEARNING_RATE = 1e-3
"""Of aggregator and head, which begin from nothing."""


def training_arguments(folder: str | Path, *, freeze_encoder: bool, seed: int = 0, **changes: Any) -> transformers.TrainingArguments:
    """Give settings for a frozen encoder, which takes seconds and many epochs, or for training everything, which takes few.

    Args:
        folder: for checkpoints.
        freeze_encoder: only aggregator and head learn.
        seed: of the order of documents, dropout and everything else that is random.
        **changes: any option of ``transformers.TrainingArguments`` instead.

    Raises:
        MissingDependencyError: the extra ``longctx[train]`` is not installed.
    """
    with train_extra():
        import_module("accelerate")  # transformers needs it, and names an extra of its own where it is missing
    frozen: dict[str, Any] = {"num_train_epochs": 20, "learning_rate": HEAD_LEARNING_RATE, "per_device_train_batch_size": 32}
    whole: dict[str, Any] = {"num_train_epochs": 4, "learning_rate": 5e-5, "per_device_train_batch_size": 8}
    settings: dict[str, Any] = {
        **(frozen if freeze_encoder else whole),
        "per_device_eval_batch_size": 32,
        "weight_decay": 0.01,
        "warmup_steps": 0.1,  # a share of all steps
        "lr_scheduler_type": "linear",
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return transformers.TrainingArguments(output_dir=str(folder), **{**settings, **changes})


class TellProgress(transformers.TrainerCallback):
    """One line an epoch on standard error, which keeps standard output for results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **options: Any) -> None:
        """As transformers calls it."""
        del control, options
        told = {
            name: value
            for name, value in (logs or {}).items()
            if name in {"loss", "eval_loss", "eval_accuracy", "eval_macro_f1", "eval_mae"}
        }
        if told and state.is_world_process_zero:
            numbers = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in told.items())
            print(f"epoch {state.epoch or 0:.1f} of {args.num_train_epochs:g}: {numbers}", file=sys.stderr, flush=True)


def quiet(trainer: transformers.Trainer) -> transformers.Trainer:
    """Let a trainer tell its progress by ``TellProgress`` alone."""
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.ProgressCallback)
    trainer.add_callback(TellProgress())
    return trainer
