"""The deciding half of a ``LongDocumentModel``, as the loop wants it: chunk states in, values of labels out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longctx.inference.backends.torch_backend import unflat_tokens
from longctx.nn.aggregators import Aggregator

if TYPE_CHECKING:
    from longctx.nn.model import LongDocumentModel

MOST_VALUES_TOGETHER = 16_000_000
"""Numbers ``n_documents * n_labels * hidden`` that are made at a time: thousands of labels would fill the memory else."""


class Decider(Aggregator):
    """Aggregator and head in one: ``(n_documents, n_chunks, hidden)`` to ``(n_documents, n_labels)``, on the CPU, in eval mode.

    A chunk of a model that reads all token states comes as ``flat_tokens`` makes it.

    Args:
        model: stays what it is, but in eval mode; its aggregator and head compute where they are.
    """

    def __init__(self, model: LongDocumentModel) -> None:
        super().__init__()
        model.eval()
        self.aggregator = model.aggregator
        self.head = model.head
        self.n_labels, width = model.head.weight.shape
        self._hidden = model.hidden
        self._per_token = model.config.states == "tokens"
        self._together = max(1, MOST_VALUES_TOGETHER // (self.n_labels * width))

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Each chunk's share in each label, ``(n_documents, n_chunks, n_labels)``; as the aggregator tells it."""
        shares = self._in_parts(self._shares, states, mask, fresh_tokens)
        if shares.shape[-1] in {1, self.n_labels}:
            return shares.expand(-1, -1, self.n_labels)
        # Mean and max weigh each number of a state by itself; a label's share of a chunk is what that makes of it on the whole.
        return shares.mean(dim=-1, keepdim=True).expand(-1, -1, self.n_labels)

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Logits, or the values of a regression."""
        return self._in_parts(self._decide, states, mask, fresh_tokens)

    def alone(self, states: Tensor) -> Tensor:
        """Values of each chunk as a document of its own, ``(n_documents, n_chunks, n_labels)``."""
        each = states.flatten(0, 1).unsqueeze(1)
        values: Tensor = self(each, torch.ones(each.shape[:2], dtype=torch.bool))
        return values.reshape(*states.shape[:2], -1)

    def _decide(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
        return self.aggregator.head_values(*self._read(states, mask, fresh_tokens), self.head)

    def _shares(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
        shares: Tensor = self.aggregator.weights(*self._read(states, mask, fresh_tokens))
        return shares.reshape(*mask.shape, -1, shares.shape[-1]).sum(dim=2)  # a chunk's share is that of its tokens

    def _read(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give what the aggregator reads: states of chunks as they are, or those of tokens, ``(n_documents, n_chunks * width, hidden)``."""
        if not self._per_token:
            return states, mask, fresh_tokens
        tokens, is_token = unflat_tokens(states, self._hidden)
        return tokens.flatten(1, 2), (is_token & mask.unsqueeze(-1)).flatten(1), None

    def _in_parts(self, function: Callable[..., Tensor], states: Tensor, mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
        device = self.head.weight.device
        parts = []
        for start in range(0, len(states), self._together):
            part = slice(start, start + self._together)
            fresh = None if fresh_tokens is None else fresh_tokens[part].to(device)
            parts.append(function(states[part].to(device), mask[part].to(device), fresh).cpu())
        return torch.cat(parts)
