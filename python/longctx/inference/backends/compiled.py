"""Full rows through ``torch.compile``: always the same few shapes, and no mask."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

logger = logging.getLogger(__name__)

ATTENTION_NAME = "longctx_unmasked"
"""Registered for attention only: without a mask function of that name, transformers builds no mask. Some of its versions build one of
zeros while they are compiled, with which attention is computed in float32, several times slower than not compiled."""
UNMASKED = frozenset({"bert", "electra", "distilbert", "ernie", "roberta", "xlm-roberta", "camembert", "data2vec-text"})
"""Values of ``config.model_type`` whose tokens all see each other in every layer."""
MOST_SHAPES = 4
"""So many shapes are compiled, each for seconds; a run of documents has one."""
CHECK_SHAPE = (2, 9)
TOLERANCE = 6e-2
"""Largest difference to the plain model that rounding explains in any precision, relative to the largest value."""


class CompiledRows:
    """Knows which batches a compiled model shall compute: those of a shape that has come twice in a row, as the last of a run never does.

    Args:
        model: a transformers model, on its device and in eval mode; it stays as it is, and its weights are shared.
    """

    def __init__(self, model: Any) -> None:
        self._forward = torch.compile(_without_masks(model), dynamic=False)
        self._compiled: set[tuple[int, ...]] = set()
        self._last: tuple[int, ...] = ()

    def forward_for(self, shape: tuple[int, ...]) -> Callable[..., Any] | None:
        """Give what computes rows of this shape that need no mask; None for the plain model."""
        if shape == self._last and len(self._compiled) < MOST_SHAPES:
            self._compiled.add(shape)
        self._last = shape
        return self._forward if shape in self._compiled else None


def _without_masks(model: Any) -> Any:
    """Give the model with an attention that takes no mask; the model itself where that is not known to be the same."""
    config = model.config
    if getattr(config, "model_type", "") not in UNMASKED or getattr(config, "is_decoder", False):
        return model
    shared = {id(weight): weight for weight in (*model.parameters(), *model.buffers())}
    unmasked = copy.deepcopy(model, shared)
    try:
        unmasked.set_attn_implementation(ATTENTION_NAME)
        if _difference(model, unmasked) <= TOLERANCE:
            return unmasked
    except Exception as error:  # whatever a future version of transformers makes of it: the model itself is always right
        logger.info("compiled as it is: %s", error)
    return model


def _difference(model: Any, other: Any) -> float:
    embeddings = model.get_input_embeddings().weight
    ids = torch.randint(len(embeddings), CHECK_SHAPE, generator=torch.Generator().manual_seed(0)).to(embeddings.device)
    with torch.inference_mode():
        values, others = (one(input_ids=ids)[0].float() for one in (model, other))
    return float((values - others).abs().max() / values.abs().max().clamp(min=1e-6))


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **inputs: Any,
) -> tuple[Tensor, None]:
    """Attention of rows without padding, ``(n_rows, n_heads, n_tokens, head)`` to ``(n_rows, n_tokens, n_heads, head)``."""
    del module, inputs
    if attention_mask is not None or dropout:
        raise ValueError("attention without masks wants no mask, and no dropout")
    attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION_NAME, _attend)
