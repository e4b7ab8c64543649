"""The interface between the loop and what computes: a rectangular batch in, a row of values for each of its rows out."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from longctx.nn.embedding import Pooling


@dataclass(frozen=True, slots=True)
class Readout:
    """What is read from the model for a row.

    Attributes:
        kind: "logits" of the checkpoint's head, the "embedding" that ``embed_rows`` makes of the token states, or these "tokens"
            themselves: how many there are, then their states one after the other, filled up with zeros to ``width`` tokens.
        pooling: how an embedding pools the token states.
        width: tokens of the longest row, for "tokens".
    """

    kind: Literal["logits", "embedding", "tokens"]
    pooling: Pooling = "mean"
    width: int = 0


LOGITS = Readout("logits")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the loop has to know of a model before it makes rows for it.

    Attributes:
        takes_types: it has an input for token types.
        takes_mask: it has an input for the mask.
        can_pad: rows of different length may meet in a batch; heads that read the last token need a pad token for that.
        n_known_ids: rows of the embedding table, None where the model does not say.
    """

    takes_types: bool
    takes_mask: bool
    can_pad: bool
    n_known_ids: int | None


class Backend(Protocol):
    """Computes one model on one device for one readout. Its facts never change."""

    @property
    def name(self) -> str:
        """What computes and in which precision, as ``"torch float32"``."""

    @property
    def facts(self) -> ModelFacts:
        """What rows the model takes."""

    @property
    def readout(self) -> Readout:
        """What a row is worth."""

    @property
    def device(self) -> torch.device:
        """Where inputs are copied to and values come from."""

    @property
    def n_parallel(self) -> int:
        """How many batches to compute at a time: so many threads may call ``run``, each with its share of torch's threads."""

    def run(self, input_ids: Tensor, mask: Tensor | None, token_types: Tensor | None) -> Tensor:
        """Values float ``(n_rows, d)`` on ``device``, perhaps still being computed there.

        A row's values do not depend on the other rows of the batch beyond rounding.

        Args:
            input_ids: int32 or int64 ``(n_rows, width)`` on ``device``.
            mask: bool ``(n_rows, width)``, False at padding; None when no row has any.
            token_types: as ``input_ids``; None for a model that takes none.

        Raises:
            torch.OutOfMemoryError, MemoryError, RuntimeError: memory ran out; fewer rows may fit.
        """


def read_facts(model: Any) -> ModelFacts:
    """Ask a torch module with the forward of transformers."""
    parameters = inspect.signature(model.forward).parameters
    embeddings = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    return ModelFacts(
        takes_types="token_type_ids" in parameters,
        takes_mask="attention_mask" in parameters,
        can_pad=getattr(model.config, "pad_token_id", None) is not None,
        n_known_ids=getattr(embeddings, "num_embeddings", None),
    )
