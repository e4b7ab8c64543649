"""A small model, documents it can learn, and the short way to a trained one: what tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from longctx import LongDocumentModel, Trainer

LABELS = ["cat", "dog"]
FILLER = "The quick brown fox jumps over the lazy dog. " * 6
TRAIN = [(FILLER + ("chunk row " if n % 2 else "reader reads ") + FILLER[: 9 * n], LABELS[n % 2]) for n in range(24)]

Make = Callable[..., LongDocumentModel]


def maker(encoder: Path) -> Make:
    def model(**options: Any) -> LongDocumentModel:
        return LongDocumentModel.from_encoder(encoder, **{"labels": LABELS, "max_tokens": 16, "overlap_tokens": 3, **options})

    return model


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_strategy": "no", "report_to": "none"}
    return TrainingArguments(str(folder), **{**settings, "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False, **options})


def trained(
    model: LongDocumentModel, folder: Path, *, data: Any = TRAIN, settings: dict[str, Any] | None = None, **options: Any
) -> Trainer:
    trainer = Trainer(model, arguments(folder, **(settings or {})), train=data, **options)
    trainer.train()
    return trainer


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def are_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def some_texts() -> list[str]:
    return [text for text, _ in TRAIN[:4]]
