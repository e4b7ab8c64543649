"""A second model with the weights of the first, to be called in another way, and how far its values are from the first one's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""Largest difference that rounding explains, relative to the largest value."""
UNMASKED = frozenset({"bert", "electra", "distilbert", "ernie", "roberta", "xlm-roberta", "camembert", "data2vec-text"})
"""Values of ``config.model_type`` whose tokens all see each other in every layer."""


def twin(model: Any, attention: str) -> Any:
    """Copy a transformers model, but for its weights, which both share, and give the copy another attention."""
    weights = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(weight): weight for weight in weights})
    copied.set_attn_implementation(attention)
    return copied


def sees_all(model: Any) -> bool:
    """Whether each token is known to see all others of its row, so that only padding needs a mask."""
    config = model.config
    return getattr(config, "model_type", "") in UNMASKED and not getattr(config, "is_decoder", False)


def relative_difference(values: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value expected; infinite where shapes differ."""
    if values.shape != expected.shape:
        return float("inf")
    return float((values.float() - expected.float()).abs().max() / expected.float().abs().max().clamp(min=1e-6))


def is_close(difference: float, model: Any) -> bool:
    """Whether rounding in the model's precision explains it."""
    return difference <= TOLERANCE.get(model.dtype, 0.0)
