"""From chunk results to one document result: a registry of aggregators with one interface.

All take ``states`` float ``(n_documents, n_chunks, d)``, ``mask`` bool ``(n_documents, n_chunks)`` (False is padding)
and ``fresh_tokens`` ``(n_documents, n_chunks)`` or None, and give float32 ``(n_documents, d)``. Everything is done in
float32 with padding masked first, so a document's result does not depend on the documents beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longctx.errors import ConfigError


class Aggregator(nn.Module):
    """Base: the document is the weighted sum of its chunks; a subclass says how chunks are weighed."""

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Each chunk's share, float32 ``(n_documents, n_chunks, d)``: sums to 1 over chunks, 0 at padding."""
        raise NotImplementedError

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """``(n_documents, n_chunks, d)`` to float32 ``(n_documents, d)``."""
        states = states.float().masked_fill(~mask.unsqueeze(-1), 0.0)
        return (self.weights(states, mask, fresh_tokens) * states).sum(dim=1)


class Mean(Aggregator):
    """The mean, weighted by fresh tokens: text in an overlap counts once and a short last chunk counts little.

    >>> states = torch.tensor([[[1.0], [4.0]]])
    >>> mask = torch.tensor([[True, True]])
    >>> Mean()(states, mask, torch.tensor([[2, 1]]))
    tensor([[2.]])
    """

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        share = _fresh_shares(mask, fresh_tokens)
        return share.unsqueeze(-1).expand(-1, -1, states.shape[-1])


class Max(Aggregator):
    """Each column's strongest chunk, whatever its length. The first one where several are equal."""

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        strongest = states.float().masked_fill(~mask.unsqueeze(-1), -torch.inf).argmax(dim=1, keepdim=True)
        shape = (*mask.shape, states.shape[-1])
        return torch.zeros(shape, device=mask.device).scatter_(1, strongest, 1.0)


class SoftmaxEvidence(Aggregator):
    """Chunks count by how clearly they speak for one label: the zero-shot weighting.

    ``weight = softmax over chunks of scale * evidence``, times fresh tokens. A chunk's evidence is its largest state,
    or with ``centred=True`` how far that stands above the mean of the chunk's states, so a chunk that is a little like
    every label (boilerplate, small talk) does not drown the passage that is much like one.
    """

    def __init__(self, scale: float = 10.0, *, centred: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.centred = centred

    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:  # noqa: D102 - as in the base
        evidence = states.float().amax(dim=-1)
        if self.centred:
            evidence = evidence - states.float().mean(dim=-1)
        shares = _fresh_shares(mask, fresh_tokens)
        logits = (self.scale * evidence + shares.log()).masked_fill(~mask, -torch.inf)
        return logits.softmax(dim=-1).unsqueeze(-1).expand(-1, -1, states.shape[-1])


AGGREGATORS: dict[str, type[Aggregator]] = {"mean": Mean, "max": Max, "evidence": SoftmaxEvidence}
"""Aggregators that can be asked for by name."""


def build_aggregator(name: str) -> Aggregator:
    """Build the aggregator of that name with its default settings.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in AGGREGATORS:
        allowed = ", ".join(repr(known) for known in AGGREGATORS)
        raise ConfigError(f"aggregate={name!r} is not known; use 'auto' or one of {allowed}.")
    return AGGREGATORS[name]()


def _fresh_shares(mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
    """Float32 ``(n_documents, n_chunks)``; equal shares where nothing is fresh, as in an empty document."""
    shares = mask.float() if fresh_tokens is None else fresh_tokens.float() * mask
    has_none = shares.sum(dim=1, keepdim=True) == 0
    shares = torch.where(has_none, mask.float(), shares)
    return shares / shares.sum(dim=1, keepdim=True).clamp(min=1.0)
