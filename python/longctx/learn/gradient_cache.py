"""Exact gradients of documents of any length in the memory of a few rows.

All rows are encoded without a graph. The loss is taken with a graph on their states, which gives each state's gradient. Then rows go
through the encoder again, a batch at a time and with the same random numbers as before, and their states' gradients go on from there.
By the chain rule the sum is the gradient of the plain step. Sources: Gao et al. 2021 (GradCache), for batches of short texts; CachED
(2025), for the chunks of long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longctx.nn.rows import DocumentBatch, RowBatch, in_order

if TYPE_CHECKING:
    from longctx.nn.model import LongDocumentModel

RandomState = tuple[Tensor, Tensor | None]


class GradientCache:
    """One training step over some documents.

    Args:
        model: in the mode it shall be trained in.
        documents: with ids, on the model's device.
        token_budget: tokens of rows that have a graph at a time.
        precision: context for the forward passes, such as autocast.
    """

    def __init__(
        self,
        model: LongDocumentModel,
        documents: DocumentBatch,
        *,
        token_budget: int,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._model = model
        self._documents = documents
        self._precision = precision
        self._batches = list(model.batches(documents, token_budget=token_budget))
        self._places = [model.places(batch, documents) for batch in self._batches]
        self._random: list[RandomState] = []
        self._states: Tensor | None = None

    def values(self) -> Tensor:
        """Values ``(n_documents, n_labels)`` with a graph that ends at the states. Take the loss of them, go backward, and ``replay``."""
        with torch.no_grad():
            parts = [self._encode_noting(batch) for batch in self._batches]
            self._states = in_order(parts, self._places)
        self._states.requires_grad_()
        with self._precision():
            return self._model.decide(self._states, self._documents)

    def replay(self) -> None:
        """Bring the gradients of the states to the encoder's weights. Afterwards random numbers go on as if nothing was drawn twice."""
        if self._states is None or self._states.grad is None:
            raise ValueError("go backward from values() first")
        gradients = self._states.grad
        after = random_state(gradients.device)
        for batch, places, state in zip(self._batches, self._places, self._random, strict=True):
            set_random_state(state, gradients.device)
            with self._precision():
                states = self._model.encode_rows(batch)
            torch.autograd.backward(states, gradients[places.to(gradients.device)].to(states.dtype))
        set_random_state(after, gradients.device)

    def _encode_noting(self, batch: RowBatch) -> Tensor:
        self._random.append(random_state(batch.ids.device))
        with self._precision():
            return self._model.encode_rows(batch)


def random_state(device: torch.device) -> RandomState:
    """Read the state of torch's random numbers on the host and on ``device``."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Go back to it."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
