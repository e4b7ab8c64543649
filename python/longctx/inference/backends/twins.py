"""A second model with the weights of the first, to be called in another way, and how far its values are from the first one's."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""Largest difference that rounding explains, relative to the largest value."""
UNMASKED = frozenset({"bert", "electra", "distilbert", "ernie", "roberta", "xlm-roberta", "camembert", "data2vec-text"})
"""Values of ``config.model_type`` whose tokens all see each other in every layer."""
CHECK_SHAPE = (3, 11)


def twin(model: Any, attention: str) -> Any:
    """Copy a transformers model, but for its weights, which both share, and give the copy another attention."""
    weights = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(weight): weight for weight in weights})
    copied.set_attn_implementation(attention)
    return copied


def is_of_transformers(model: Any) -> bool:
    """Whether a model is of a class of transformers itself, and does what that is known to do."""
    return type(model).__module__.startswith("transformers.")


def sees_all(model: Any) -> bool:
    """Whether each token is known to see all others of its row, so that only padding needs a mask."""
    config = model.config
    return getattr(config, "model_type", "") in UNMASKED and not getattr(config, "is_decoder", False)


def relative_difference(values: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value expected; infinite where shapes differ."""
    if values.shape != expected.shape:
        return float("inf")
    return float((values.float() - expected.float()).abs().max() / expected.float().abs().max().clamp(min=1e-6))


def is_close(difference: float, model: Any) -> bool:
    """Whether rounding in the model's precision explains it."""
    return difference <= TOLERANCE.get(model.dtype, 0.0)


def check_values(model: Any, *, with_padding: bool) -> Tensor:
    """Ask a model about three rows, one of them with padding where that is wanted: logits, or states of tokens."""
    embeddings = model.get_input_embeddings().weight
    ids = torch.randint(len(embeddings), CHECK_SHAPE, generator=torch.Generator().manual_seed(0)).to(embeddings.device)
    inputs = {"input_ids": ids}
    if with_padding:
        inputs["attention_mask"] = torch.ones_like(ids)
        inputs["attention_mask"][1, CHECK_SHAPE[1] // 2 :] = 0
    with torch.inference_mode():
        values: Tensor = model(**inputs)[0]
    return values


def equal_or_plain(model: Any, change: Callable[[Any], Any], values: Callable[[Any], Tensor], otherwise: str) -> Any:
    """Give what ``change`` makes of a model where it has the same values, else the model itself.

    Args:
        model: stays as it is.
        change: makes a twin that computes in another way.
        values: asks a model something that shows the difference.
        otherwise: what is said in the log where the model itself is given.
    """
    try:
        changed = change(model)
        difference = relative_difference(values(changed), values(model))
    except Exception as error:  # whatever a future version of transformers makes of it: the model itself is always right
        logger.info("%s: %s", otherwise, error)
        return model
    if is_close(difference, model):
        return changed
    logger.info("%s: else results would differ by %.2g", otherwise, difference)
    return model
