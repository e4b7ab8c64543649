"""A small model, documents it can learn, and the short way to a trained one: what tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments

from longctx import LongDocumentModel, Trainer
from longctx.inference.backends.base import read_facts
from longctx.learn.encoded import encode_documents
from longctx.learn.gradient_cache import GradientCache
from longctx.learn.losses import loss_of

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


def gradients(model: LongDocumentModel, *, cached: bool, token_budget: int = 40) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss plus the random number after the step, and the gradients of a step on five documents."""
    texts = [text for text, _ in TRAIN[:5]]
    truth = np.array([LABELS.index(label) for _, label in TRAIN[:5]])
    encoded = encode_documents(texts, truth, model.chunker(), takes_types=read_facts(model.encoder).takes_types).batch(range(5))
    documents, labels = (encoded[name].to(model.device) for name in ("documents", "labels"))
    model.zero_grad()
    torch.manual_seed(11)
    if cached:
        cache = GradientCache(model, documents, token_budget=token_budget)
        values = cache.values()
    else:
        values = model(documents, token_budget=token_budget)
    loss = loss_of(values, labels, model.config.problem, weights=None, smoothing=0.0)
    loss.backward()
    if cached:
        cache.replay()
    after = torch.rand(1, device=model.device)
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return float(loss.detach()) + float(after), found
