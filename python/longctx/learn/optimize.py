"""Which weights learn, and how fast: layer-wise learning rates, LoRA, adversarial steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from longctx.errors import ConfigError, MissingDependencyError
from longctx.nn.adapters import lora_layers
from longctx.nn.model import LongDocumentModel

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
"""Number of a layer in the name of a weight, in the families of transformers."""


def parameter_groups(
    model: LongDocumentModel,
    *,
    learning_rate: float,
    head_learning_rate: float | None,
    layer_decay: float | None,
    weight_decay: float,
    decays: set[str],
) -> list[dict[str, Any]]:
    """Make groups for an optimizer, one for each learning rate with and without weight decay.

    Args:
        model: only weights that require a gradient are taken.
        learning_rate: of the encoder's last layer.
        head_learning_rate: of aggregator and head; None for the encoder's.
        layer_decay: each layer below learns by this factor slower, embeddings slowest; None for all alike. Source: Howard and Ruder
            2018 (discriminative fine-tuning), in the form of Clark et al. 2020 (ELECTRA).
        weight_decay: of weights whose names are in ``decays``.
        decays: names in ``model.named_parameters()``.
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ConfigError(f"layer_decay={layer_decay!r}: use a factor over 0 and up to 1, like 0.9, or None.")
    depth = 1 + max((_layer(name) for name, _ in model.encoder.named_parameters()), default=0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if name.startswith("encoder."):
            rate = learning_rate * (layer_decay or 1.0) ** (depth - 1 - _layer(name))
        else:
            rate = learning_rate if head_learning_rate is None else head_learning_rate
        decay = weight_decay if name in decays else 0.0
        groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})["params"].append(weight)
    return list(groups.values())


def _layer(name: str) -> int:
    """Read the number of the layer a weight is in; -1 for embeddings and what else stands before the first."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found else -1


def add_lora(model: LongDocumentModel, lora: Any, *, seed: int = 0) -> None:
    """Freeze the encoder and put low-rank adapters on it, which learn in its place. Source: Hu et al. 2021 (LoRA), by peft.

    Args:
        model: gets adapters inside its encoder.
        lora: a ``peft.LoraConfig``, or True for rank 8 on all linear layers.
        seed: of the new weights.

    Raises:
        MissingDependencyError: peft is not installed.
        ConfigError: something else was given, or adapters are there already.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingDependencyError("lora= needs peft, which is not installed; run `pip install longctx[train]`.") from error
    if lora is True:
        lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules="all-linear")
    if not isinstance(lora, LoraConfig):
        raise ConfigError(f"lora={lora!r}: use True, a peft.LoraConfig, or None.")
    if lora_layers(model):
        raise ConfigError("lora=: this model has adapters already; merge_lora() first.")
    model.encoder.requires_grad_(requires_grad=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.encoder = inject_adapter_in_model(lora, model.encoder)


@contextmanager
def perturbed_embeddings(model: LongDocumentModel, epsilon: float) -> Iterator[None]:
    """Inside, the word embeddings are moved by ``epsilon`` along their gradient. Source: Miyato et al. 2017 (FGM).

    Raises:
        ConfigError: they have no gradient.
    """
    weight = model.encoder.get_input_embeddings().weight
    if weight.grad is None:
        raise ConfigError("adversarial_epsilon needs word embeddings that learn; it cannot go with a frozen encoder or with lora=.")
    kept = weight.detach().clone()
    length = weight.grad.norm()
    if torch.isfinite(length) and length > 0:
        with torch.no_grad():
            weight.add_(weight.grad * (epsilon / length))
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def sum_of_gradients(model: nn.Module, reduce: Callable[[Tensor], None]) -> None:
    """Hand every gradient to ``reduce``, in one order on all processes; weights without one get zeros first."""
    for weight in model.parameters():
        if weight.requires_grad:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            reduce(weight.grad)
