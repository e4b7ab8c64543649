"""What a ``LongDocumentModel`` is besides its weights: the ``config.json`` it is saved with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from torch import Tensor

from longctx.errors import ConfigError, ModelLoadError
from longctx.nn.embedding import Pooling
from longctx.results import Problem

MODEL_TYPE = "longctx"
"""``model_type`` in ``config.json``: how a saved model is told from a checkpoint of transformers."""
ARCHITECTURE = "LongDocumentModel"

OVERLAP_SHARE = 8
"""Neighbouring chunks share an eighth of a row unless ``overlap_tokens`` says otherwise."""

States = Literal["chunks", "tokens"]


@dataclass
class LongDocumentConfig:
    """Settings of a ``LongDocumentModel``. Not frozen, because ``transformers.Trainer`` puts a switch of its own on it.

    Attributes:
        labels: names of the outputs, in order.
        problem: "single_label" (softmax), "multi_label" (a sigmoid for each), "regression" (values as they are).
        aggregator: its name in the registry.
        aggregator_options: its own options.
        pooling: how a chunk's token states become one: "mean", "first" or "last".
        states: the aggregator reads one state for each chunk, or those of all "tokens".
        max_tokens: length of a row, special tokens included.
        overlap_tokens: tokens that neighbouring chunks share.
        chunking: further options of ``Chunker``.
        dropout: before the head, in training.
        encoder: the configuration of the encoder, as transformers writes it.
    """

    labels: tuple[str, ...]
    problem: Problem = "single_label"
    aggregator: str = "attention"
    aggregator_options: dict[str, Any] = field(default_factory=dict)
    pooling: Pooling = "mean"
    states: States = "chunks"
    max_tokens: int = 512
    overlap_tokens: int = 64
    chunking: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.1
    encoder: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("problem", self.problem, get_args(Problem))
        _one_of("pooling", self.pooling, get_args(Pooling))
        _one_of("states", self.states, get_args(States))
        _check_labels(self.labels, self.problem)
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout={self.dropout!r}: give a share of at least 0 and under 1.")

    @property
    def n_labels(self) -> int:
        """Outputs of the head."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON holds it, with the names under which transformers looks for a model's kind and labels."""
        own = asdict(self)
        own["labels"] = list(self.labels)
        return {"model_type": MODEL_TYPE, "architectures": [ARCHITECTURE], "id2label": dict(enumerate(self.labels)), **own}

    def to_json_string(self) -> str:
        """Write the text of ``config.json``; loggers of transformers ask for it too."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], name: str) -> LongDocumentConfig:
        """Read what ``to_dict`` gave; ``name`` is for messages.

        Raises:
            ModelLoadError: something is missing or not allowed.
        """
        known = {item.name for item in fields(cls)}
        given = {key: value for key, value in content.items() if key in known}
        try:
            return cls(**{**given, "labels": tuple(given["labels"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelLoadError(
                f"{name}: its config.json is not one of a saved LongDocumentModel ({error!r}); save the model again."
            ) from error


def _one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{option}={value!r} is not known; use one of {', '.join(map(repr, allowed))}.")


def _check_labels(labels: tuple[str, ...], problem: Problem) -> None:
    if not labels or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ConfigError(f"labels={list(labels)!r}: give at least one name, each a str that is not blank.")
    repeated = sorted({label for label in labels if labels.count(label) > 1}) if len(set(labels)) < len(labels) else []
    if repeated:
        raise ConfigError(f"labels repeats {', '.join(map(repr, repeated[:5]))}; give each label once.")
    if problem == "single_label" and len(labels) < 2:  # noqa: PLR2004 - one label has nothing to be chosen from
        raise ConfigError(
            f"labels={list(labels)!r}: one label leaves nothing to choose; give two, or problem='multi_label' or 'regression'."
        )


def probabilities(values: Tensor, problem: Problem) -> Tensor:
    """Values ``(..., n_labels)`` to probabilities of that shape; those of a regression stay as they are."""
    if problem == "regression":
        return values
    return values.sigmoid() if problem == "multi_label" else values.softmax(dim=-1)
