"""A last layer that computes only what is read: where a row is worth its first token, the states of all others are made for nothing.

That token still sees all of them, so keys and values are made for every token; queries, the feed-forward part and all else for the first
alone. Of an encoder with six layers, that is a seventh of the work. Known architectures only, and only after a comparison with the model.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longctx.inference.backends.base import Readout
from longctx.inference.backends.twins import is_close, relative_difference, twin

logger = logging.getLogger(__name__)

BERT_LIKE = frozenset({"bert", "electra", "ernie", "roberta", "xlm-roberta", "camembert", "data2vec-text"})
DISTILBERT = "distilbert"
"""Values of ``config.model_type`` whose layers are known."""
ATTENTION = "sdpa"
"""The only attention of transformers for which the mask of the first token is known: rows of its first dimension but one."""
HEAD = "ForSequenceClassification"
CHECK_SHAPE = (3, 11)


class FirstTokenLayer(nn.Module):
    """A layer whose output is the state of each row's first token, ``(n_rows, 1, hidden)``; of packed rows ``(1, n_rows, hidden)``.

    Args:
        layer: the layer of transformers, whose weights and parts are used.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer: Any = layer

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **inputs: Any) -> Tensor:
        """As transformers calls a layer; packed rows come with where each begins, as ``PackedBackend`` gives it."""
        del others  # what a decoder would get
        starts = inputs.get("cu_seq_lens_k")
        if starts is None:
            first, packed = hidden_states[:, :1], {}
        else:
            first = hidden_states[:, starts[:-1].long()]
            packed = {name: inputs[name] for name in ("cu_seq_lens_k", "max_length_k", "row_lengths")}
            packed |= {"cu_seq_lens_q": torch.arange(len(starts), dtype=starts.dtype, device=starts.device), "max_length_q": 1}
        own, query, key, value = self._projections(first, hidden_states)
        mask = None if attention_mask is None else attention_mask[..., :1, :]
        attend = ALL_ATTENTION_FUNCTIONS[own.config._attn_implementation]
        attended, _ = attend(own, *map(self._heads, (query, key, value)), mask, dropout=0.0, scaling=self._head_width**-0.5, **packed)
        return self._rest(first, attended.reshape(first.shape))

    @property
    @abstractmethod
    def _head_width(self) -> int: ...

    @abstractmethod
    def _projections(self, first: Tensor, states: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """Give the attention's module, the query of the first token, and the keys and values of all."""

    @abstractmethod
    def _rest(self, first: Tensor, attended: Tensor) -> Tensor:
        """Everything behind the attention."""

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:-1], -1, self._head_width).transpose(1, 2)


class _BertLayer(FirstTokenLayer):
    @property
    def _head_width(self) -> int:
        return int(self.layer.attention.self.attention_head_size)

    def _projections(self, first: Tensor, states: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        own = self.layer.attention.self
        return own, own.query(first), own.key(states), own.value(states)

    def _rest(self, first: Tensor, attended: Tensor) -> Tensor:
        attended = self.layer.attention.output(attended, first)
        output: Tensor = self.layer.output(self.layer.intermediate(attended), attended)
        return output


class _DistilBertLayer(FirstTokenLayer):
    @property
    def _head_width(self) -> int:
        return int(self.layer.attention.attention_head_size)

    def _projections(self, first: Tensor, states: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        own = self.layer.attention
        return own, own.q_lin(first), own.k_lin(states), own.v_lin(states)

    def _rest(self, first: Tensor, attended: Tensor) -> Tensor:
        attended = self.layer.sa_layer_norm(self.layer.attention.out_lin(attended) + first)
        output: Tensor = self.layer.output_layer_norm(self.layer.ffn(attended) + attended)
        return output


def first_token_model(model: Any, readout: Readout) -> Any:
    """Give a model for which that holds, with the same weights; the model itself where more than first tokens is read, or where it cannot.

    Args:
        model: a transformers model in eval mode, on its device; it stays as it is.
        readout: what a row is worth.
    """
    if not _reads_first(model, readout) or model.config._attn_implementation != ATTENTION:
        return model
    try:
        changed = _changed(model)
        difference = _difference(model, changed)
    except Exception as error:  # whatever a future version of transformers makes of it: the model itself is always right
        logger.info("the last layer computes all tokens: %s", error)
        return model
    if is_close(difference, model):
        return changed
    logger.info("the last layer computes all tokens: with the first alone, results differ by %.2g", difference)
    return model


def is_first_token_model(model: nn.Module) -> bool:
    """Say whether ``first_token_model`` changed the model."""
    return any(isinstance(module, FirstTokenLayer) for module in model.modules())


def _reads_first(model: Any, readout: Readout) -> bool:
    config, kind = model.config, type(model)
    if getattr(config, "model_type", "") not in {*BERT_LIKE, DISTILBERT} or getattr(config, "is_decoder", False):
        return False
    if not kind.__module__.startswith("transformers."):  # another head may read other tokens
        return False
    if readout.kind == "embedding":
        return readout.pooling == "first"
    return readout.kind == "logits" and kind.__name__.endswith(HEAD)


def _changed(model: Any) -> Any:
    changed = twin(model, ATTENTION)
    base = getattr(changed, changed.base_model_prefix, changed)
    is_distilbert = changed.config.model_type == DISTILBERT
    layers = base.transformer.layer if is_distilbert else base.encoder.layer
    layers[-1] = (_DistilBertLayer if is_distilbert else _BertLayer)(layers[-1]).eval()
    return changed


def _difference(model: Any, changed: Any) -> float:
    """Compare rows of which one has padding."""
    embeddings = model.get_input_embeddings().weight
    ids = torch.randint(len(embeddings), CHECK_SHAPE, generator=torch.Generator().manual_seed(0)).to(embeddings.device)
    mask = torch.ones_like(ids)
    mask[1, CHECK_SHAPE[1] // 2 :] = 0
    with torch.inference_mode():
        outputs = [each(input_ids=ids, attention_mask=mask)[0] for each in (changed, model)]
    if len(outputs[1].shape) == len((*CHECK_SHAPE, "hidden")):
        outputs = [output[:, :1] for output in outputs]
    return relative_difference(*outputs)
