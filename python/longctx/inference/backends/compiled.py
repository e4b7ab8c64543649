"""Full rows through ``torch.compile``: always the same few shapes, and no mask."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from longctx.inference.backends.twins import check_values, equal_or_plain, sees_all, twin

logger = logging.getLogger(__name__)

ATTENTION_NAME = "longctx_unmasked"
"""Registered for attention only: without a mask function of that name, transformers builds no mask. Some of its versions build one of
zeros while they are compiled, with which attention is computed in float32, several times slower than not compiled."""
MOST_SHAPES = 4
"""So many shapes are compiled, each for seconds; rows have one length, or with several prefixes a few."""


class CompiledRows:
    """Knows which batches a compiled model shall compute: those that are full, from the second of their shape on.

    Batches that are not full, like the last of a run, have another shape each time.

    Args:
        model: a transformers model, on its device and in eval mode; it stays as it is, and its weights are shared.
        token_budget: a batch is full when one row more would have more tokens than that.
    """

    def __init__(self, model: Any, token_budget: int) -> None:
        self._forward = torch.compile(_without_masks(model), dynamic=False)
        self._token_budget = token_budget
        self._seen: set[tuple[int, ...]] = set()
        self.shapes: set[tuple[int, ...]] = set()

    def forward_for(self, shape: tuple[int, ...]) -> Callable[..., Any] | None:
        """Give what computes rows of this shape, ``(n_rows, width)``, that need no mask; None for the plain model."""
        n_rows, width = shape
        if n_rows != max(1, self._token_budget // width):
            return None
        if shape in self._seen and shape not in self.shapes:
            if len(self.shapes) == MOST_SHAPES:
                return None
            logger.info("compiling the model for batches of %d rows of %d tokens", n_rows, width)
            self.shapes.add(shape)
        self._seen.add(shape)
        return self._forward if shape in self.shapes else None


def _without_masks(model: Any) -> Any:
    """Give the model with an attention that takes no mask; the model itself where that is not known to be the same."""
    if not sees_all(model):
        return model
    return equal_or_plain(
        model, lambda model: twin(model, ATTENTION_NAME), partial(check_values, with_padding=False), "compiled with masks"
    )


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
