"""Aggregators: the same answer for a document alone and in any padded batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.nn.aggregators import AGGREGATORS, Aggregator, Max, Mean, SoftmaxEvidence, build_aggregator

ALL = [Mean(), Max(), SoftmaxEvidence(), SoftmaxEvidence(40, centred=True)]


@pytest.mark.parametrize("aggregator", ALL)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 1000), padding=st.integers(0, 3))
def test_padding_and_neighbours_change_nothing(aggregator: Aggregator, lengths: list[int], seed: int, padding: int):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths) + padding
    states = torch.randn(len(lengths), width, 3, generator=generator)
    fresh = torch.randint(1, 100, (len(lengths), width), generator=generator)
    mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    states[~mask] = 1e9  # whatever stands in padding
    together = aggregator(states, mask, fresh)
    for i, length in enumerate(lengths):
        alone = aggregator(states[i : i + 1, :length], mask[i : i + 1, :length], fresh[i : i + 1, :length])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("aggregator", ALL)
def test_weights_sum_to_one_and_are_zero_at_padding(aggregator: Aggregator):
    mask = torch.tensor([[True, True, False], [True, False, False]])
    weights = aggregator.weights(torch.randn(2, 3, 4), mask, torch.tensor([[5, 1, 9], [3, 9, 9]]))
    assert weights.shape == (2, 3, 4)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 4))
    assert (weights[~mask] == 0).all()


@pytest.mark.parametrize("aggregator", ALL)
def test_half_precision_states_are_aggregated_in_float32(aggregator: Aggregator):
    states = torch.randn(1, 5, 2).to(torch.bfloat16)
    mask = torch.ones(1, 5, dtype=torch.bool)
    result = aggregator(states, mask, None)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, aggregator(states.float(), mask, None))


def test_mean_counts_fresh_tokens():
    states, mask = torch.tensor([[[0.0], [3.0]]]), torch.ones(1, 2, dtype=torch.bool)
    assert Mean()(states, mask, torch.tensor([[2, 1]])).item() == 1.0
    assert Mean()(states, mask).item() == 1.5


def test_max_takes_each_column_from_its_own_chunk():
    states, mask = torch.tensor([[[-5.0, 2.0], [-3.0, 1.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]])
    assert Max()(states, mask).tolist() == [[-3.0, 2.0]]


def test_evidence_follows_the_chunk_that_speaks_for_one_label():
    telling, chatter = [0.6, 0.1, 0.1], [0.3, 0.4, 0.35]
    states = torch.tensor([[chatter] * 9 + [telling]])
    mask = torch.ones(1, 10, dtype=torch.bool)
    assert int(Mean()(states, mask).argmax()) == 1
    assert int(SoftmaxEvidence(40, centred=True)(states, mask).argmax()) == 0


def test_a_document_without_fresh_tokens_still_has_a_result():
    states, mask = torch.tensor([[[2.0, 1.0]]]), torch.ones(1, 1, dtype=torch.bool)
    for aggregator in ALL:
        assert aggregator(states, mask, torch.tensor([[0]])).tolist() == [[2.0, 1.0]]


def test_aggregators_are_built_by_name():
    assert {name: type(build_aggregator(name)) for name in AGGREGATORS} == AGGREGATORS
    with pytest.raises(ConfigError, match=r"'median'.*'auto' or one of 'mean', 'max', 'evidence'"):
        build_aggregator("median")
