"""The mean and the maximum over chunks, side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from longctx.nn.aggregators.base import LearnedAggregator, clean, exact, fresh_shares
from longctx.nn.aggregators.max import Max
from longctx.nn.aggregators.mean import Mean


class MeanMax(LearnedAggregator):
    """The mean, weighted by fresh tokens, and each column's strongest chunk, one after the other: the head reads both.

    ``(n_documents, n_chunks, hidden)`` to ``(n_documents, 2 * hidden)``. It has no weights of its own; the head, which is twice as wide,
    learns what of a document counts by how much there is of it, and what counts once it is there.
    Source: concat pooling, Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, section 3.3.
    """

    gives_sums = True

    def __init__(self, hidden: int, n_labels: int, **options: object) -> None:
        super().__init__(hidden, n_labels, **options)
        self.mean, self.max = Mean(), Max()

    @property
    def output_width(self) -> int:  # noqa: D102 - as in the base
        return 2 * self.hidden

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """``(n_documents, n_chunks, 1)``: half a chunk's share of the fresh tokens, half that of the columns in which it is strongest."""
        with exact(states):
            strongest = self.max.weights(clean(states, mask), mask, fresh_tokens).mean(dim=-1)
            return ((fresh_shares(mask, fresh_tokens) + strongest) / 2).unsqueeze(-1)

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        with exact(states):
            return torch.cat([self.mean(states, mask, fresh_tokens), self.max(states, mask, fresh_tokens)], dim=-1)
