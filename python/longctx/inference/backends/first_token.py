"""A last layer that computes only what is read: where a row is worth its first token, the states of all others are made for nothing.

That token still sees all of them, so keys and values are made for every token; queries, the feed-forward part and all else for the first
alone. Of an encoder with six layers, that is a seventh of the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longctx.inference.backends.base import Readout
from longctx.inference.backends.layers import ATTENTION, Parts, attend, is_known, layers_of, parts_of
from longctx.inference.backends.twins import check_values, equal_or_plain, is_of_transformers, twin

HEAD = "ForSequenceClassification"


class FirstTokenLayer(nn.Module):
    """A layer whose output is the state of each row's first token, ``(n_rows, 1, hidden)``; of packed rows ``(1, n_rows, hidden)``.

    Args:
        layer: of a known architecture; its weights are used.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @property
    def parts(self) -> Parts:
        """What the layer is made of, looked up anew: copies of the module have parts of their own."""
        return parts_of(self.layer)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **inputs: Any) -> Tensor:
        """As transformers calls a layer; packed rows come with where each begins, as ``PackedBackend`` gives it."""
        del others  # what a decoder would get
        parts, starts = self.parts, inputs.get("cu_seq_lens_k")
        if starts is None:
            first, packed = hidden_states[:, :1], {}
        else:
            first = hidden_states[:, starts[:-1].long()]
            packed = {name: inputs[name] for name in ("cu_seq_lens_k", "max_length_k", "row_lengths")}
            packed |= {"cu_seq_lens_q": torch.arange(len(starts), dtype=starts.dtype, device=starts.device), "max_length_q": 1}
        mask = None if attention_mask is None else attention_mask[..., :1, :]
        attended = attend(parts, parts.query(first), parts.key(hidden_states), parts.value(hidden_states), mask, **packed)
        attended = parts.attention_norm(parts.output(attended) + first)
        state: Tensor = parts.norm(parts.down(parts.activation(parts.up(attended))) + attended)
        return state


def first_token_model(model: Any, readout: Readout) -> Any:
    """Give a model for which that holds, with the same weights; the model itself where more than first tokens is read, or where it cannot.

    Args:
        model: a transformers model in eval mode, on its device; it stays as it is.
        readout: what a row is worth.
    """
    if not (_reads_first(model, readout) and is_known(model)):
        return model
    return equal_or_plain(model, _changed, _first_values, "the last layer computes all tokens")


def is_first_token_model(model: nn.Module) -> bool:
    """Say whether ``first_token_model`` changed the model."""
    return any(isinstance(module, FirstTokenLayer) for module in model.modules())


def _reads_first(model: Any, readout: Readout) -> bool:
    if not is_of_transformers(model):  # another head may read other tokens
        return False
    if readout.kind == "embedding":
        return readout.pooling == "first"
    return readout.kind == "logits" and type(model).__name__.endswith(HEAD)


def _changed(model: Any) -> Any:
    changed = twin(model, ATTENTION)
    layers = layers_of(changed)
    layers[-1] = FirstTokenLayer(layers[-1]).eval()
    return changed


def _first_values(model: Any) -> Tensor:
    values = check_values(model, with_padding=True)
    return values if values.ndim == len(("row", "label")) else values[:, :1]
