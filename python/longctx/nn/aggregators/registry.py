"""Aggregators by name: those of the package, and those that users add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from longctx.errors import ConfigError
from longctx.nn.aggregators.attention import Attention
from longctx.nn.aggregators.base import Aggregator, LearnedAggregator
from longctx.nn.aggregators.evidence import SoftmaxEvidence
from longctx.nn.aggregators.label_attention import LabelAttention
from longctx.nn.aggregators.lstm import LSTM
from longctx.nn.aggregators.max import Max
from longctx.nn.aggregators.mean import Mean
from longctx.nn.aggregators.mean_max import MeanMax
from longctx.nn.aggregators.transformer import Transformer

Class = TypeVar("Class", bound=type[Aggregator])

AGGREGATORS: dict[str, type[Aggregator]] = {
    "mean": Mean,
    "max": Max,
    "evidence": SoftmaxEvidence,
    "mean_max": MeanMax,
    "attention": Attention,
    "lstm": LSTM,
    "transformer": Transformer,
    "label_attention": LabelAttention,
}
"""Aggregators that can be asked for by name."""


def register_aggregator(name: str) -> Callable[[Class], Class]:
    """Give a name to an ``Aggregator`` class of your own, so that models can be made, saved and loaded with it.

    A ``LearnedAggregator`` is built with ``hidden``, ``n_labels`` and the model's options; any other with the options alone.

    >>> import longctx.nn.aggregators as aggregators
    >>> @aggregators.register_aggregator("first")
    ... class First(aggregators.Mean):
    ...     def weights(self, states, mask, fresh_tokens=None):
    ...         is_first = mask & (mask.cumsum(dim=1) == 1)
    ...         return is_first.float().unsqueeze(-1).expand_as(states)
    >>> aggregators.build_aggregator("first")
    First()

    Raises:
        ConfigError: the name is taken, is "auto" or blank, or it is given to something else.
    """

    def register(cls: Class) -> Class:
        if not (isinstance(cls, type) and issubclass(cls, Aggregator)):
            raise ConfigError(f"{cls!r} is no class that inherits from longctx.nn.aggregators.Aggregator, so it cannot be registered.")
        if not isinstance(name, str) or not name.strip() or name == "auto":
            raise ConfigError(f"{name!r} cannot be the name of an aggregator; use a word other than 'auto'.")
        known = AGGREGATORS.get(name)
        # The same class again is no mistake: a notebook's cell runs twice.
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"There is an aggregator {name!r} already ({known.__module__}.{known.__qualname__}); use another name.")
        AGGREGATORS[name] = cls
        return cls

    return register


def build_aggregator(name: str) -> Aggregator:
    """Build the aggregator of that name that needs no training, with its default settings.

    Raises:
        ConfigError: there is none of that name, or it has weights that must be trained first.
    """
    untrained = [known for known, cls in AGGREGATORS.items() if not issubclass(cls, LearnedAggregator)]
    allowed = ", ".join(map(repr, untrained))
    if name not in AGGREGATORS:
        raise ConfigError(f"aggregate={name!r} is not known; use 'auto' or one of {allowed}.")
    if name not in untrained:
        raise ConfigError(
            f"aggregate={name!r} needs weights that are learned, its own or a head's, and this checkpoint brings none; "
            f"use 'auto' or one of {allowed}."
        )
    return AGGREGATORS[name]()


def build_learned(name: str, *, hidden: int, n_labels: int, **options: Any) -> Aggregator:
    """Build an aggregator over an encoder's states, for a model that will be trained or has been.

    Args:
        name: of the registry.
        hidden: width of the states.
        n_labels: outputs of the head.
        **options: the aggregator's own.

    Raises:
        ConfigError: there is none of that name, it cannot read states, or an option is not its own.
    """
    usable = [known for known, cls in AGGREGATORS.items() if not cls.of_label_values]
    if name not in usable:
        why = "reads values of labels, not states of an encoder" if name in AGGREGATORS else "is not known"
        raise ConfigError(
            f"aggregator={name!r} {why}; use one of {', '.join(map(repr, usable))}, or add your own with register_aggregator()."
        )
    cls = AGGREGATORS[name]
    try:
        return cls(hidden=hidden, n_labels=n_labels, **options) if issubclass(cls, LearnedAggregator) else cls(**options)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"aggregator={name!r} cannot be built with the options {options!r}: {error}.") from error
