"""A recurrent network over chunks in their order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longctx.errors import ConfigError
from longctx.nn.aggregators.attention import AttentionPool
from longctx.nn.aggregators.base import clean


class LSTM(AttentionPool):
    """A bidirectional LSTM over chunk states, pooled by gated attention over its outputs.

    Each output knows what came before and after, so order and combinations can decide. ``(n_documents, n_chunks, hidden)`` to
    ``(n_documents, hidden)``. Sources: Hochreiter and Schmidhuber 1997; over chunks of a document, Pappagari et al. 2019 (RoBERT); with
    attention on top rather than the last state, which has to carry a passage through all chunks behind it, Yang et al. 2016.

    Args:
        hidden: width of the states; even, because each direction has half.
        n_labels: outputs of the head; not used.
        dropout: of the outputs, in training.
    """

    def __init__(self, hidden: int, n_labels: int, *, dropout: float = 0.1, **options: Any) -> None:
        super().__init__(hidden, n_labels, **options)
        if hidden % 2:
            raise ConfigError(f"aggregator='lstm' needs states of even width, and this encoder's have {hidden}; use another aggregator.")
        self.lstm = nn.LSTM(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def outputs(self, states: Tensor, mask: Tensor) -> Tensor:  # noqa: D102 - as in the base
        # Chunks move together in front of the padding: a chunk that is left out must not be a step of its own.
        order = (~mask).long().argsort(dim=1, stable=True).unsqueeze(-1)
        states = clean(states, mask).gather(1, order.expand_as(states))
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])
        back = torch.zeros_like(outputs).scatter(1, order.expand_as(outputs), outputs)
        return clean(self.dropout(back), mask)
