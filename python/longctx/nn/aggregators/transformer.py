"""A transformer over chunks with their positions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from longctx.nn.aggregators.attention import AttentionPool
from longctx.nn.aggregators.base import clean
from longctx.nn.aggregators.layers import MultiHeadAttention, chunk_positions, feed_forward, pick_heads


class _Layer(nn.Module):
    """Chunks read each other, then each thinks for itself; normalized first, which trains without warm-up."""

    def __init__(self, hidden: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(hidden, n_heads, dropout)
        self.feed_forward = feed_forward(hidden, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        asked = self.norms[0](states)
        states = states + self.dropout(self.attention(asked, asked, mask))
        thought: Tensor = self.feed_forward(self.norms[1](states))
        return states + thought


class Transformer(AttentionPool):
    """Self-attention over chunk states with sines for chunk positions, pooled by gated attention.

    Every chunk reads all others, so order and combinations of distant passages can decide. ``(n_documents, n_chunks, hidden)`` to
    ``(n_documents, hidden)``. Sources: Vaswani et al. 2017; over chunks, Pappagari et al. 2019 (ToBERT), with what published code of it
    leaves out: chunk positions, and padding masked in attention and pool.

    Args:
        hidden: width of the states.
        n_labels: outputs of the head; not used.
        n_layers: of self-attention.
        n_heads: of each layer; None for heads about 64 wide.
        dropout: in training.
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
        heads = pick_heads(hidden, n_heads)
        self.first_norm = nn.LayerNorm(hidden)
        self.layers = nn.ModuleList([_Layer(hidden, heads, dropout) for _ in range(n_layers)])
        self.last_norm = nn.LayerNorm(hidden)

    def outputs(self, states: Tensor, mask: Tensor) -> Tensor:  # noqa: D102 - as in the base
        states = self.first_norm(clean(states, mask))
        states = states + chunk_positions(mask, self.hidden, states.dtype)
        for layer in self.layers:
            states = layer(states, mask)
        return clean(self.last_norm(states), mask)
