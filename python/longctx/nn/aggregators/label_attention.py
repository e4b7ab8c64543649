"""The decoder: a query for each label reads the states of all chunks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from longctx.errors import ConfigError
from longctx.nn.aggregators.base import LearnedAggregator, clean, exact, masked_softmax
from longctx.nn.aggregators.layers import MultiHeadAttention, chunk_positions, feed_forward, pick_heads

if TYPE_CHECKING:
    from longctx.nn.model import Head

START_STD = 0.02
"""Of the queries where there are no layers."""


class _Layer(nn.Module):
    """Labels attend to each other, then to the document, then each thinks for itself; normalized first."""

    def __init__(self, hidden: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.among_labels = MultiHeadAttention(hidden, n_heads, dropout)
        self.to_document = MultiHeadAttention(hidden, n_heads, dropout)
        self.feed_forward = feed_forward(hidden, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(hidden) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)

    def ask(self, labels: Tensor) -> Tensor:
        """Labels after they attended to each other, ``(n, n_labels, hidden)``."""
        asked = self.norms[0](labels)
        attended: Tensor = self.dropout(self.among_labels(asked, asked, None))
        return labels + attended

    def read(self, labels: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Labels after they read the document, ``(n_documents, n_labels, hidden)``."""
        labels = labels + self.dropout(self.to_document(self.norms[1](labels), memory, mask))
        thought: Tensor = self.feed_forward(self.norms[2](labels))
        return labels + thought

    def shares(self, labels: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """How much of each chunk each label reads, ``(n_documents, n_labels, n_chunks)``."""
        return self.to_document.shares(self.norms[1](labels), memory, mask)


class LabelAttention(LearnedAggregator):
    """A decoder: learned label queries attend to each other and, by cross-attention, to the states of all chunks.

    Each label reads its own evidence, with several heads and chunk positions, so single passages, order and combinations can decide.
    ``(n_documents, n_states, hidden)`` to ``(n_documents, n_labels, hidden)``. The states are one for each chunk, or those of all
    tokens: then ``n_states`` counts a document's tokens, the positions are theirs, and memory grows by ``n_labels * n_states``.
    Sources: label-wise attention, Mullenbach et al. 2018 (CAML); queries that attend to each other and to an encoder's states,
    Vaswani et al. 2017 and Carion et al. 2020 (DETR); for labels, Liu et al. 2021 (Query2Label).

    Args:
        hidden: width of the states.
        n_labels: queries.
        n_layers: times that labels attend to each other and read the document. With 0 each label reads the chunks once, by itself, with
            one head and without positions (CAML), and sees neither order nor combinations. It is for thousands of labels.
        n_heads: of each layer; None for heads about 64 wide.
        dropout: of the layers, in training.
    """

    def __init__(
        self,
        hidden: int,
        n_labels: int,
        *,
        n_layers: int = 2,
        n_heads: int | None = None,
        dropout: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(hidden, n_labels, **options)
        if n_layers < 0 or (n_layers == 0 and n_heads is not None):
            raise ConfigError(f"n_layers={n_layers}, n_heads={n_heads}: use n_layers=0 or more, and n_heads only with layers.")
        heads = pick_heads(hidden, n_heads)
        self.queries = nn.Embedding(n_labels, hidden)
        self.memory_norm = nn.LayerNorm(hidden)
        self.layers = nn.ModuleList([_Layer(hidden, heads, dropout) for _ in range(n_layers)])
        if n_layers:
            self.last_norm = nn.LayerNorm(hidden)
        else:
            self.key = nn.Linear(hidden, hidden, bias=False)  # it would cancel in the softmax
            nn.init.normal_(self.queries.weight, std=START_STD)  # nearly the mean: labels begin by reading everything

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """How much of each chunk each label reads, in the last layer and as the mean over heads: ``(n_documents, n_states, n_labels)``."""
        del fresh_tokens
        with exact(states):
            memory = self._memory(states, mask)
            if not self.layers:
                return self._shares(memory, mask)
            labels = self._start()
            *earlier, last = self._layers()
            for layer in earlier:
                labels = layer.read(layer.ask(labels), memory, mask)
            shares = last.shares(last.ask(labels), memory, mask)
        return shares.transpose(1, 2)

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        del fresh_tokens
        with exact(states):
            memory = self._memory(states, mask)
            if not self.layers:
                return self._shares(memory, mask).transpose(1, 2) @ memory
            labels = self._start()
            for layer in self._layers():
                labels = layer.read(layer.ask(labels), memory, mask)
            decided: Tensor = self.last_norm(labels)
        return decided

    def head_values(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None, head: Head) -> Tensor:
        """As in the base. Without layers no label's state is written out: every label scores the chunks, and the scores are summed."""
        if self.layers:
            return super().head_values(states, mask, fresh_tokens, head)
        with exact(states):
            memory = self._memory(states, mask)
            values: Tensor = head.values_of_shares(self._shares(memory, mask), memory)
        return values

    @property
    def gives_sums(self) -> bool:  # noqa: D102 - as in the base
        return not self.layers

    def _shares(self, memory: Tensor, mask: Tensor) -> Tensor:
        """How much of each chunk each label reads where there are no layers, ``(n_documents, n_states, n_labels)``."""
        logits = self.key(memory) @ self.queries.weight.T / math.sqrt(self.hidden)
        return masked_softmax(logits, mask.unsqueeze(-1), dim=1)

    def _layers(self) -> list[_Layer]:
        return cast(list[_Layer], list(self.layers))

    def _start(self) -> Tensor:
        """``(1, n_labels, hidden)``: what labels make of each other before they read is the same for all documents, and done once."""
        return self.queries.weight.unsqueeze(0)

    def _memory(self, states: Tensor, mask: Tensor) -> Tensor:
        memory: Tensor = self.memory_norm(clean(states, mask))
        return memory + chunk_positions(mask, self.hidden, memory.dtype) if self.layers else memory
