"""The maximum over chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from longctx.nn.aggregators.base import Aggregator


class Max(Aggregator):
    """Each column's strongest chunk, whatever its length. The first one where several are equal."""

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        strongest = states.float().masked_fill(~mask.unsqueeze(-1), -torch.inf).argmax(dim=1, keepdim=True)
        shape = (*mask.shape, states.shape[-1])
        return torch.zeros(shape, device=mask.device).scatter_(1, strongest, 1.0) * mask.unsqueeze(-1)
