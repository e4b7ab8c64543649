"""Aggregators: the same answer for a document alone and in any padded batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.nn.aggregators import (
    AGGREGATORS,
    Aggregator,
    LearnedAggregator,
    Max,
    Mean,
    SoftmaxEvidence,
    build_aggregator,
    build_learned,
    register_aggregator,
)
from longctx.nn.model import Head

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


def test_mean_and_maximum_stand_side_by_side():
    states, mask = torch.tensor([[[-5.0, 2.0], [-3.0, 1.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]])
    both, fresh = build_learned("mean_max", hidden=2, n_labels=3), torch.tensor([[1, 3, 5]])
    assert both(states, mask, fresh).tolist() == [[-3.5, 1.25, -3.0, 2.0]]
    assert both.weights(states, mask, fresh).squeeze(-1).tolist() == [[(0.25 + 0.5) / 2, (0.75 + 0.5) / 2, 0.0]]


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


def test_aggregators_without_training_are_built_by_name():
    assert [type(build_aggregator(name)) for name in ("mean", "max", "evidence")] == [Mean, Max, SoftmaxEvidence]
    with pytest.raises(ConfigError, match=r"'median'.*'auto' or one of 'mean', 'max', 'evidence'"):
        build_aggregator("median")


HIDDEN, N_LABELS = 12, 3
NO_LAYERS = "label_attention without layers"
LEARNED = [NO_LAYERS, *sorted(name for name, cls in AGGREGATORS.items() if issubclass(cls, LearnedAggregator))]
EACH = sorted({*AGGREGATORS, *LEARNED})


def named(name: str) -> Aggregator:
    torch.manual_seed(0)
    if name == NO_LAYERS:
        built = build_learned("label_attention", hidden=HIDDEN, n_labels=N_LABELS, n_layers=0)
    else:
        built = build_learned(name, hidden=HIDDEN, n_labels=N_LABELS) if name in LEARNED else build_aggregator(name)
    return built.eval()


def learned(name: str) -> LearnedAggregator:
    built = named(name)
    assert isinstance(built, LearnedAggregator)
    return built


@pytest.mark.parametrize("name", EACH)
def test_a_document_alone_beside_one_40_times_longer_and_in_another_order_is_the_same(name: str):
    aggregator = named(name)
    lengths, places = torch.tensor([3, 120, 1, 17]), torch.tensor([2, 0, 3, 1])
    states, fresh = torch.randn(4, 125, HIDDEN), torch.randint(1, 100, (4, 125))
    mask = torch.arange(125) < lengths.unsqueeze(1)
    states[~mask] = torch.nan  # whatever stands in padding
    together, weights = aggregator(states, mask, fresh), aggregator.weights(states, mask, fresh)
    torch.testing.assert_close(aggregator(states[places], mask[places], fresh[places]), together[places], atol=1e-5, rtol=0)
    for i, n in enumerate(lengths.tolist()):
        own = states[i : i + 1, :n], mask[i : i + 1, :n], fresh[i : i + 1, :n]
        torch.testing.assert_close(aggregator(*own)[0], together[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(aggregator.weights(*own)[0], weights[i, :n], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]), atol=1e-5, rtol=0)
    assert (weights[~mask] == 0).all()


@pytest.mark.parametrize("name", EACH)
def test_a_chunk_that_is_masked_inside_a_document_is_as_if_it_were_not_there(name: str):
    aggregator = named(name)
    states, kept = torch.randn(1, 6, HIDDEN), torch.tensor([0, 1, 3, 5])
    mask = torch.zeros(1, 6, dtype=torch.bool)
    mask[:, kept] = True
    rest = aggregator(states[:, kept], mask[:, kept], None)
    torch.testing.assert_close(aggregator(states, mask, None), rest, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_aggregators_work_in_full_precision_and_reach_every_weight(name: str):
    aggregator = learned(name).to(torch.bfloat16)
    assert {weight.dtype for weight in aggregator.parameters()} == (set() if name == "mean_max" else {torch.float32})
    states, mask = torch.randn(2, 5, HIDDEN), torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        result = aggregator(states.to(torch.bfloat16), mask)
    torch.testing.assert_close(result, aggregator(states.to(torch.bfloat16).float(), mask), atol=1e-6, rtol=0)
    assert tuple(result.shape) in {(2, aggregator.output_width), (2, N_LABELS, aggregator.output_width)}
    (result * torch.randn_like(result, requires_grad=True)).sum().backward()
    assert [key for key, weight in aggregator.named_parameters() if weight.grad is None] == []
    assert not aggregator(states, torch.tensor([[True] * 5, [False] * 5])).isnan().any()


@pytest.mark.parametrize("name", LEARNED)
def test_the_short_way_to_a_heads_values_gives_the_values_of_the_long_one(name: str):
    aggregator = learned(name).double()
    head = Head(aggregator.output_width, N_LABELS, 0.5).double().eval()
    head.standardize(torch.randn(aggregator.output_width).double(), torch.rand(aggregator.output_width).double() + 0.1)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    states = torch.randn(3, 5, HIDDEN).double().masked_fill(~mask.unsqueeze(-1), torch.nan)
    values = aggregator.head_values(states, mask, None, head)
    assert values.shape == (3, N_LABELS)
    torch.testing.assert_close(values, head(aggregator(states, mask, None)).to(values), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(LEARNED) - {NO_LAYERS}))
def test_aggregators_that_need_training_are_not_offered_without_it(name: str):
    with pytest.raises(ConfigError, match=r"weights that are learned.*this checkpoint brings none.*'mean', 'max', 'evidence'"):
        build_aggregator(name)


def test_wrong_aggregators_for_a_model_are_refused():
    for name, options, message in [
        ("evidence", {}, "reads values of labels"),
        ("median", {}, "is not known.*register_aggregator"),
        ("attention", {"n_layers": 2}, "no option 'n_layers'"),
        ("mean", {"n_layers": 2}, "cannot be built"),
        ("transformer", {"n_heads": 5}, "n_heads=5"),
        ("label_attention", {"n_layers": -1}, "n_layers=-1"),
        ("label_attention", {"n_layers": 0, "n_heads": 2}, "n_heads=2"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_learned(name, hidden=HIDDEN, n_labels=2, **options)


def test_users_add_aggregators_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longctx.nn.aggregators.registry.AGGREGATORS", AGGREGATORS.copy())

    @register_aggregator("mine")
    class Mine(Mean):
        pass

    assert isinstance(build_aggregator("mine"), Mine)
    with pytest.raises(ConfigError, match="already"):
        register_aggregator("mean")(Mine)
    with pytest.raises(ConfigError, match="no class that inherits"):
        register_aggregator("other")(dict)  # type: ignore[type-var]
