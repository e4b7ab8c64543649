"""What an untrained head begins with: what is usual in the training documents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longctx.learn.encoded import EncodedDocuments
from longctx.learn.losses import first_bias
from longctx.nn.model import LongDocumentModel

MOST_DOCUMENTS = 1000
"""Documents whose states are looked at."""
DOCUMENTS_TOGETHER = 32


def begin_with_usual(model: LongDocumentModel, documents: EncodedDocuments, *, frozen: bool) -> None:
    """Set what an untrained head begins with; one that has learned is left as it is.

    Args:
        model: its head is set.
        documents: those it will learn from.
        frozen: they are states of an encoder that does not learn. Then the head sees a document's state less the usual one, in units of its
            spread: long documents are all nearly alike beside what they have in common, and a head learns that slowly.
    """
    if model.head.bias.any():
        return
    bias = first_bias(documents.truth, model.config.problem)
    with torch.no_grad():
        if bias is not None:
            model.head.bias.copy_(torch.from_numpy(bias))
        if frozen and len(documents) > 1:
            model.head.standardize(_document_states(model, documents))


def _document_states(model: LongDocumentModel, documents: EncodedDocuments) -> Tensor:
    """States ``(n, hidden)`` that the untrained aggregator gives some of the documents, evenly spread over them."""
    chosen = np.unique(np.linspace(0, len(documents) - 1, min(len(documents), MOST_DOCUMENTS)).astype(np.int64))
    was_training, states = model.training, []
    model.eval()
    for start in range(0, len(chosen), DOCUMENTS_TOGETHER):
        batch = documents.batch(chosen[start : start + DOCUMENTS_TOGETHER].tolist())["documents"].to(model.head.bias.device)
        stacked = model.stacked(batch.states, batch)
        states.append(model.aggregator(*stacked).flatten(0, -2))
    model.train(was_training)
    return torch.cat(states)
