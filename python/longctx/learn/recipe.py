"""Settings that train well without being asked: those of the command line and of the examples."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import transformers

from longctx.learn.extras import train_extra

HEAD_LEARNING_RATE = 1e-3
"""Of aggregator and head, which begin from nothing, beside an encoder that learns slowly."""


FROZEN_LEARNING_RATES = {"mean": 3e-3, "max": 3e-3, "mean_max": 3e-3, "attention": 3e-3, "lstm": 1e-3}
"""With a frozen encoder, by aggregator; ``FROZEN_LEARNING_RATE`` for all others, which are deeper. On two folds of film
reviews, but for mean_max, which is as mean."""
FROZEN_LEARNING_RATE = 3e-4
FROZEN_STEPS = 600
"""At least so many steps with a frozen encoder, and at least ``FROZEN_EPOCHS``: on a few hundred documents, ten epochs are too few."""
FROZEN_EPOCHS = 10
FROZEN_BATCH = 32
FROZEN_MINILM: dict[str, int] = {"encoder_layers": 4, "max_tokens": 128}
"""How a packaged encoder that does not learn is read: layers compared in benches/accuracy.md, rows as in zero-shot, not compared here."""


def training_arguments(
    folder: str | Path, *, freeze_encoder: bool, aggregator: str = "attention", n_documents: int = 0, seed: int = 0, **changes: Any
) -> transformers.TrainingArguments:
    """Give settings for a frozen encoder, which takes seconds and many epochs, or for training everything, which takes few.

    Args:
        folder: for checkpoints.
        freeze_encoder: only aggregator and head learn.
        aggregator: what learns.
        n_documents: that are learned from; fewer are read more often.
        seed: of the order of documents, dropout and everything else that is random.
        **changes: any option of ``transformers.TrainingArguments`` instead.

    Raises:
        MissingDependencyError: the extra ``longctx[train]`` is not installed.
    """
    with train_extra():
        import_module("accelerate")  # transformers needs it, and names an extra of its own where it is missing
    frozen: dict[str, Any] = {
        "num_train_epochs": max(FROZEN_EPOCHS, math.ceil(FROZEN_STEPS * FROZEN_BATCH / n_documents) if n_documents else 0),
        "learning_rate": FROZEN_LEARNING_RATES.get(aggregator, FROZEN_LEARNING_RATE),
        "per_device_train_batch_size": FROZEN_BATCH,
    }
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


@contextmanager
def told_reading() -> Iterator[None]:
    """Inside, what is read with a frozen encoder is told on standard error, a line for each part: it may take minutes."""
    logger, handler = logging.getLogger("longctx.learn"), logging.StreamHandler(sys.stderr)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
