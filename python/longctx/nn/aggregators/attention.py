"""Gated attention pooling: which passages matter is learned."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from longctx.nn.aggregators.base import LearnedAggregator, clean, exact, masked_softmax


class GatedAttention(nn.Module):
    """A score for each state by itself: ``w . (tanh(V h) * sigmoid(U h))``, softmax over the document's states."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.content = nn.Linear(hidden, width)
        self.gate = nn.Linear(hidden, width)
        self.score = nn.Linear(width, 1, bias=False)  # a bias would cancel in the softmax

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Shares ``(n_documents, n_chunks, 1)`` of states ``(n_documents, n_chunks, hidden)``."""
        scores: Tensor = self.score(self.content(states).tanh() * self.gate(states).sigmoid())
        return masked_softmax(scores, mask.unsqueeze(-1), dim=1)


class AttentionPool(LearnedAggregator):
    """Base: a document is the sum of its chunks' outputs, by gated attention over them. A subclass says what the outputs are.

    ``(n_documents, n_chunks, hidden)`` to ``(n_documents, hidden)``.

    Args:
        hidden: width of the states and of the outputs.
        n_labels: outputs of the head; not used.
        width: of the scoring layer; None for ``hidden``, at most 256.
    """

    def __init__(self, hidden: int, n_labels: int, *, width: int | None = None, **options: Any) -> None:
        super().__init__(hidden, n_labels, **options)
        self.pool = GatedAttention(hidden, min(hidden, 256) if width is None else width)

    @abstractmethod
    def outputs(self, states: Tensor, mask: Tensor) -> Tensor:
        """``(n_documents, n_chunks, hidden)`` in full precision, zeros at padding."""

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Each output's share, ``(n_documents, n_chunks, 1)``. Where outputs know of other chunks too, a hint and not a proof."""
        del fresh_tokens
        with exact(states):
            shares: Tensor = self.pool(self.outputs(states, mask), mask)
        return shares

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        del fresh_tokens
        with exact(states):
            outputs = self.outputs(states, mask)
            return torch.sum(self.pool(outputs, mask) * outputs, dim=1)


class Attention(AttentionPool):
    """Gated attention pooling: a document is the sum of its chunks' states, by learned shares.

    Finds the passage that decides wherever it stands; sees neither order nor combinations. Its shares are evidence as they are.
    Source: Ilse, Tomczak, Welling 2018, Attention-based Deep Multiple Instance Learning, equation 9.
    """

    gives_sums = True

    def outputs(self, states: Tensor, mask: Tensor) -> Tensor:  # noqa: D102 - as in the base
        return clean(states, mask)
