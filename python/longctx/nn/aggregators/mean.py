"""The mean over chunks."""

from __future__ import annotations

from torch import Tensor

from longctx.nn.aggregators.base import Aggregator, fresh_shares


class Mean(Aggregator):
    """The mean, weighted by fresh tokens: text in an overlap counts once and a short last chunk counts little.

    >>> import torch
    >>> states = torch.tensor([[[1.0], [4.0]]])
    >>> mask = torch.tensor([[True, True]])
    >>> Mean()(states, mask, torch.tensor([[2, 1]]))
    tensor([[2.]])
    """

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        share = fresh_shares(mask, fresh_tokens)
        return share.unsqueeze(-1).expand(-1, -1, states.shape[-1])
