"""The interface of all aggregators.

All take ``states`` float ``(n_documents, n_chunks, d)``, ``mask`` bool ``(n_documents, n_chunks)`` (False is padding, and may stand
anywhere) and ``fresh_tokens`` ``(n_documents, n_chunks)`` or None, and give ``(n_documents, d)`` or ``(n_documents, n_labels, d)``, or
what is as wide as their ``output_width`` says.
Everything is done in float32 with padding masked first, so a document's result does not depend on the documents beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.nn.model import Head

HALF = (torch.float16, torch.bfloat16)


class FullPrecision(nn.Module):
    """A module whose weights stay float32 when the model around it goes to half precision: it is small, and its sums are long."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: FBT001, FBT002, RUF100 - torch's own signature
        def keep(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            return tensor.to(changed.device) if changed.dtype in HALF else changed

        applied: Self = super()._apply(keep, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        return applied


class Aggregator(FullPrecision, ABC):
    """Base: the document is the weighted sum of its chunks; a subclass says how chunks are weighed.

    Attributes:
        of_label_values: it reads what chunks say about labels, and makes no sense of an encoder's states.
    """

    of_label_values: ClassVar[bool] = False

    @abstractmethod
    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Each chunk's share, float32 ``(n_documents, n_chunks, d)``: sums to 1 over chunks, 0 at padding."""

    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """``(n_documents, n_chunks, d)`` to float32 ``(n_documents, d)``."""
        states = clean(states, mask)
        return (self.weights(states, mask, fresh_tokens) * states).sum(dim=1)

    def head_values(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None, head: Head) -> Tensor:
        """Values ``(n_documents, n_labels)`` of a model's head. A subclass overrides it where it knows a shorter way to them."""
        values: Tensor = head(self(states, mask, fresh_tokens))
        return values

    @property
    def gives_sums(self) -> bool:
        """Whether what it gives are sums of a document's states, as the encoder made them."""
        return type(self).forward is Aggregator.forward

    def alone(self, states: Tensor) -> Tensor:
        """Say what each chunk would as the only one, float32 ``(n_documents, n_chunks, n_values)``; here ``states`` are the values."""
        return full(states)


class LearnedAggregator(Aggregator):
    """Base of those with weights that are trained. They read an encoder's states, one for each chunk (or for each token).

    A subclass overrides ``forward`` and ``weights``, and calls ``clean`` and ``masked_softmax`` before anything is mixed. Its
    ``__init__`` takes ``hidden``, ``n_labels`` and options of its own that JSON can hold. How many tokens of a chunk are fresh has no
    say unless it is learned: a deciding passage may stand in a short last chunk.

    Args:
        hidden: width of the states.
        n_labels: outputs of the head that follows.
    """

    def __init__(self, hidden: int, n_labels: int, **options: Any) -> None:
        if options:
            raise ConfigError(f"{type(self).__name__} has no option {sorted(options)[0]!r}; see its docstring for those it has.")
        super().__init__()
        self.hidden = hidden
        self.n_labels = n_labels

    @property
    def output_width(self) -> int:
        """Of what it gives, which the head reads: ``hidden`` unless a subclass says otherwise."""
        return self.hidden

    @abstractmethod
    def weights(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """Each chunk's share, float32 ``(n_documents, n_chunks, 1)`` or ``(..., n_labels)``: sums to 1 over chunks, 0 at padding."""

    @abstractmethod
    def forward(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None = None) -> Tensor:
        """``(n_documents, n_chunks, hidden)`` to float32 ``(n_documents, output_width)`` or ``(n_documents, n_labels, output_width)``."""


def full(states: Tensor) -> Tensor:
    """Float32; float64 stays, because gradients are compared in it."""
    return states if states.dtype == torch.float64 else states.float()


def clean(states: Tensor, mask: Tensor) -> Tensor:
    """Full precision ``(n_documents, n_chunks, d)`` with zeros at padding, whatever stood there: NaN times zero is NaN."""
    return full(states).masked_fill(~mask.unsqueeze(-1), 0.0)


def masked_softmax(logits: Tensor, mask: Tensor, *, dim: int) -> Tensor:
    """Softmax with exact zeros where ``mask``, of a shape that fits, is False; all zeros where nothing is left."""
    lowest = torch.finfo(logits.dtype).min
    return logits.masked_fill(~mask, lowest).softmax(dim=dim) * mask


def exact(states: Tensor) -> torch.autocast:
    """Context without autocast, which would take the sums of many chunks to half precision."""
    return torch.autocast(states.device.type, enabled=False)


def fresh_shares(mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
    """Float32 ``(n_documents, n_chunks)``; equal shares where nothing is fresh, as in an empty document."""
    shares = mask.float() if fresh_tokens is None else fresh_tokens.float() * mask
    has_none = shares.sum(dim=1, keepdim=True) == 0
    shares = torch.where(has_none, mask.float(), shares)
    return shares / shares.sum(dim=1, keepdim=True).clamp(min=1.0)
