"""Encoder layers whose parts are known, so that they can be computed in another way: those of BERT and its kind, and of DistilBERT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longctx.inference.backends.twins import sees_all

DISTILBERT = "distilbert"
ATTENTION = "sdpa"
"""The attention of transformers whose masks are known: ``(n_rows, 1, n_queries or 1, n_keys)``."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a layer does to the states of tokens: attention and a feed-forward part, each added to its input and normalized.

    Attributes:
        attention: the module that functions for attention are given.
        head_width: numbers of a head.
        query, key, value, output: projections of the attention.
        attention_norm: normalizes what attention gave and its input.
        up, activation, down: the feed-forward part.
        norm: normalizes what that gave and its input.
    """

    attention: Any
    head_width: int
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    attention_norm: nn.LayerNorm
    up: nn.Linear
    activation: Callable[[Tensor], Tensor]
    down: nn.Linear
    norm: nn.LayerNorm


def parts_of(layer: Any) -> Parts:
    """Find the parts of a layer of a known model."""
    return _parts_of_distilbert(layer) if hasattr(layer, "sa_layer_norm") else _parts_of_bert(layer)


def is_known(model: Any) -> bool:
    """Whether a model of transformers has layers and masks that are known, and no hooks, which a copy would not call as expected."""
    has_hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return sees_all(model) and model.config._attn_implementation == ATTENTION and not has_hooks


def layers_of(model: Any) -> nn.ModuleList:
    """Find the layers of a known model, to be replaced in place."""
    base = getattr(model, model.base_model_prefix, model)
    layers: nn.ModuleList = (base.transformer if model.config.model_type == DISTILBERT else base.encoder).layer
    return layers


def attend(parts: Parts, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **inputs: Any) -> Tensor:
    """Attention as the model is set to compute it, for projections ``(n_rows, n, hidden)``; as many states as there are queries."""
    heads = [each.view(*each.shape[:-1], -1, parts.head_width).transpose(1, 2) for each in (query, key, value)]
    function = ALL_ATTENTION_FUNCTIONS[parts.attention.config._attn_implementation]
    attended: Tensor = function(parts.attention, *heads, mask, dropout=0.0, scaling=parts.head_width**-0.5, **inputs)[0]
    return attended.reshape(query.shape)


def _parts_of_bert(layer: Any) -> Parts:
    attention, own = layer.attention, layer.attention.self
    return Parts(
        attention=own,
        head_width=int(own.attention_head_size),
        query=own.query,
        key=own.key,
        value=own.value,
        output=attention.output.dense,
        attention_norm=attention.output.LayerNorm,
        up=layer.intermediate.dense,
        activation=layer.intermediate.intermediate_act_fn,
        down=layer.output.dense,
        norm=layer.output.LayerNorm,
    )


def _parts_of_distilbert(layer: Any) -> Parts:
    attention = layer.attention
    return Parts(
        attention=attention,
        head_width=int(attention.attention_head_size),
        query=attention.q_lin,
        key=attention.k_lin,
        value=attention.v_lin,
        output=attention.out_lin,
        attention_norm=layer.sa_layer_norm,
        up=layer.ffn.lin1,
        activation=layer.ffn.activation,
        down=layer.ffn.lin2,
        norm=layer.output_layer_norm,
    )
