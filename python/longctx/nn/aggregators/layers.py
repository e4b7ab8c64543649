"""Layers that the transformer and the decoder share: multi-head attention under a mask, positions, feed-forward."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from longctx.errors import ConfigError
from longctx.nn.aggregators.base import masked_softmax

HEAD_WIDTH = 64
"""As in the encoders that people use."""
LONGEST_WAVE = 10_000.0


def pick_heads(hidden: int, n_heads: int | None) -> int:
    """Pick the number of heads: as given, or the one whose heads are nearest to 64 wide, and at least two where the width allows.

    Raises:
        ConfigError: the width is no multiple of it.
    """
    if n_heads is None:
        wanted = max(2, hidden // HEAD_WIDTH)
        return max(n for n in range(1, wanted + 1) if hidden % n == 0)
    if n_heads < 1 or hidden % n_heads:
        raise ConfigError(f"n_heads={n_heads}: states are {hidden} wide, which must be a multiple of n_heads; leave it out to choose.")
    return n_heads


def chunk_positions(mask: Tensor, hidden: int, dtype: torch.dtype) -> Tensor:
    """Sines and cosines ``(n_documents, n_chunks, hidden)`` of each chunk's number; padding is not counted.

    They have no last position, so a document of any length can be read; a learned table would.
    """
    number = (mask.cumsum(dim=1) - 1).clamp(min=0).to(dtype).unsqueeze(-1)
    n_waves = (hidden + 1) // 2
    steps = torch.arange(n_waves, device=mask.device, dtype=dtype)
    angle = number * torch.exp(steps * (-math.log(LONGEST_WAVE) / n_waves))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :hidden]


class MultiHeadAttention(nn.Module):
    """Queries ``(n, n_queries, hidden)`` read ``(n, n_keys, hidden)`` where ``mask`` ``(n, n_keys)`` is True; None reads everything.

    Queries ``(1, n_queries, hidden)`` are those of all ``n``.
    """

    def __init__(self, hidden: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """``(n, n_queries, hidden)``."""
        heads = [self._heads(tensor) for tensor in (self.query(queries), self.key(memory), self.value(memory))]
        heads[0] = heads[0].expand(len(memory), -1, -1, -1)
        dropout = self.dropout if self.training else 0.0
        allowed = None
        if mask is not None:
            # Where nothing may be read, everything may: softmax of nothing is NaN, and the caller masks that document itself.
            allowed = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        read = scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=allowed, dropout_p=dropout)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out

    def shares(self, queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """How much each query reads of each key, mean over heads: ``(n, n_queries, n_keys)``."""
        asked, keys = self._heads(self.query(queries)), self._heads(self.key(memory))
        logits = asked @ keys.transpose(-1, -2) / math.sqrt(asked.shape[-1])
        return masked_softmax(logits, mask[:, None, None, :], dim=-1).mean(dim=1)

    def _heads(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(*tensor.shape[:-1], self.n_heads, -1).transpose(1, 2)


def feed_forward(hidden: int, dropout: float) -> nn.Sequential:
    """Two layers, twice as wide between: a document has few chunks to learn from, compared with an encoder's tokens."""
    layers: list[Any] = [nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden, hidden), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
