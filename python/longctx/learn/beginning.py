"""What a head begins with: what is usual in the training documents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longctx.learn.encoded import EncodedDocuments
from longctx.learn.losses import first_bias
from longctx.nn.model import LongDocumentModel

MOST_DOCUMENTS = 1000
"""Documents whose states are looked at, evenly spread over all."""
LEAST_SPREAD = 0.1
"""Of a column, relative to the mean of all: of a few documents some columns are nearly equal by chance."""


def begin_head(model: LongDocumentModel, documents: EncodedDocuments) -> None:
    """Set what an untrained head begins with, and how a head sees documents whose encoder does not learn.

    An untrained head begins with the log-odds of labels, or the mean of a regression. Where documents are given as states, and the
    aggregator sums them, the head sees a document's state less the usual one, in units of its spread: long documents are all nearly alike
    beside what they have in common, and a head learns that slowly. A head that has learned keeps its values.

    Args:
        model: its head is set.
        documents: those it will learn from.
    """
    head = model.head
    is_new = not head.bias.any()
    sees_states_as_they_are = not head.center.any() and bool((head.spread == 1).all())
    if documents.states is not None and model.aggregator.gives_sums and sees_states_as_they_are and len(documents) > 1:
        head.standardize(*_center_and_spread(model, documents))
    if is_new:
        usual = first_bias(documents.truth, model.config.problem)
        with torch.no_grad():
            head.bias.copy_(torch.zeros_like(head.bias) if usual is None else torch.from_numpy(usual))


def _center_and_spread(model: LongDocumentModel, documents: EncodedDocuments) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(hidden,)`` of the states of documents, as the aggregator sums them now.

    One document at a time: with many labels, each with a state of its own, more would not fit.
    """
    chosen = np.unique(np.linspace(0, len(documents) - 1, min(len(documents), MOST_DOCUMENTS)).astype(np.int64))
    device, was_training = model.head.bias.device, model.aggregator.training
    model.aggregator.eval()
    sums, n_states = torch.zeros(2, model.head.weight.shape[1], dtype=torch.float64), 0
    try:
        with torch.no_grad():
            for document in chosen.tolist():
                batch = documents.batch([document])["documents"].to(device)
                states = model.aggregator(*model.stack_states(batch.states, batch)).flatten(0, -2).double().cpu()
                sums += torch.stack([states.sum(dim=0), states.square().sum(dim=0)])
                n_states += len(states)
    finally:
        model.aggregator.train(was_training)
    center = sums[0] / n_states
    spread = (sums[1] / n_states - center.square()).clamp(min=0).sqrt()
    spread = spread.clamp(min=LEAST_SPREAD * spread.mean())
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    return center.to(model.head.bias), spread.to(model.head.bias)
