"""Chunks weighed by how clearly they speak: the weighting of zero-shot."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from longctx.nn.aggregators.base import Aggregator, fresh_shares


class SoftmaxEvidence(Aggregator):
    """Chunks count by how clearly they speak for one label: the zero-shot weighting.

    ``weight = softmax over chunks of scale * evidence``, times fresh tokens. A chunk's evidence is its largest state,
    or with ``centred=True`` how far that stands above the mean of the chunk's states, so a chunk that is a little like
    every label (boilerplate, small talk) does not drown the passage that is much like one.
    """

    of_label_values: ClassVar[bool] = True

    def __init__(self, scale: float = 10.0, *, centred: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.centred = centred

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        evidence = states.float().amax(dim=-1)
        if self.centred:
            evidence = evidence - states.float().mean(dim=-1)
        shares = fresh_shares(mask, fresh_tokens)
        logits = (self.scale * evidence + shares.log()).masked_fill(~mask, -torch.inf)
        return logits.softmax(dim=-1).unsqueeze(-1).expand(-1, -1, states.shape[-1])
