"""From chunk results to one document result: aggregators behind one interface, one file each, known by name."""

from __future__ import annotations

from longctx.nn.aggregators.attention import Attention
from longctx.nn.aggregators.base import Aggregator, LearnedAggregator
from longctx.nn.aggregators.evidence import SoftmaxEvidence
from longctx.nn.aggregators.label_attention import LabelAttention
from longctx.nn.aggregators.lstm import LSTM
from longctx.nn.aggregators.max import Max
from longctx.nn.aggregators.mean import Mean
from longctx.nn.aggregators.mean_max import MeanMax
from longctx.nn.aggregators.registry import AGGREGATORS, build_aggregator, build_learned, register_aggregator
from longctx.nn.aggregators.transformer import Transformer

__all__ = [
    "AGGREGATORS",
    "LSTM",
    "Aggregator",
    "Attention",
    "LabelAttention",
    "LearnedAggregator",
    "Max",
    "Mean",
    "MeanMax",
    "SoftmaxEvidence",
    "Transformer",
    "build_aggregator",
    "build_learned",
    "register_aggregator",
]
