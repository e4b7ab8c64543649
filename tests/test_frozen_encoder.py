"""Training on a frozen encoder: states on disk, what the head begins with, and stages in which the encoder learns again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")

import torch
from numpy.typing import NDArray
from tokenizers import normalizers

import longctx
from longctx import LongDocumentModel, Trainer
from longctx.learn import state_cache
from longctx.learn.encoded import encode_documents
from longctx.learn.labelled import read_labelled
from longctx.learn.state_cache import STATES, frozen_documents
from training import TRAIN, Make, are_equal, arguments, some_texts, trained, weights


def test_a_frozen_encoder_stays_and_the_rest_learns_from_states_on_disk(make: Make, tmp_path: Path):
    model = make()
    before = weights(model)
    trained(model, tmp_path, freeze_encoder=True, state_cache=tmp_path / "cache", settings={"num_train_epochs": 5})
    after = weights(model)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert not [name for name in moved if name.startswith("encoder.")]
    assert "head.weight" in moved
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_training_in_stages_first_moves_the_head_and_then_everything_that_was_not_frozen_by_hand(make: Make, tmp_path: Path):
    model = make()
    by_hand = model.encoder.get_input_embeddings().weight.requires_grad_(requires_grad=False)
    before = weights(model)
    for stage in (1, 2):
        trained(model, tmp_path / f"{stage}", freeze_encoder=True, state_cache=tmp_path)
    assert are_equal(
        weights(model.encoder), {name.removeprefix("encoder."): before[name] for name in before if name.startswith("encoder.")}
    )
    after_head = weights(model)
    trained(model, tmp_path / "3")
    changed = {name for name, tensor in weights(model).items() if not torch.equal(tensor, after_head[name])}
    learning = {name for name, weight in model.named_parameters() if weight is not by_hand}
    assert {name for name in learning if name.startswith("encoder.encoder.")} <= changed <= learning
    assert not by_hand.requires_grad


def _shards(folder: Path, model: LongDocumentModel, texts: list[str]) -> tuple[int, int]:
    """Caches, and shards in all of them, once these documents were asked for."""
    frozen_documents(model, texts, np.zeros(len(texts)), folder=folder)
    return len(list(folder.iterdir())), len(list(folder.glob(f"*/*/{STATES}")))


def test_a_changed_text_window_pooling_tokenizer_or_weight_makes_new_states_and_nothing_else_does(make: Make, tmp_path: Path):
    model = make()
    assert _shards(tmp_path, model, some_texts()) == (1, 1)
    assert _shards(tmp_path, make(aggregator="lstm"), some_texts()[::-1]) == (1, 1)
    assert _shards(tmp_path, model, [*some_texts()[:3], some_texts()[3] + "."]) == (1, 2)
    assert _shards(tmp_path, make(overlap_tokens=2), some_texts()) == (2, 3)
    assert _shards(tmp_path, make(pooling="first"), some_texts()) == (3, 4)
    assert _shards(tmp_path, make(states="tokens", aggregator="attention"), some_texts()) == (4, 5)
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert _shards(tmp_path, make(tokenizer=tokenizer), some_texts()) == (5, 6)
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1e-3)
    assert _shards(tmp_path, model, some_texts()) == (6, 7)


def test_of_added_documents_only_those_are_read(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = make()
    frozen_documents(model, some_texts(), np.zeros(4), folder=tmp_path)
    read: list[int] = []
    states = state_cache._StateMaker.states
    monkeypatch.setattr(state_cache._StateMaker, "states", lambda self, texts: read.append(len(texts)) or states(self, texts))
    documents = frozen_documents(model, [*some_texts(), "new", some_texts()[0]], np.zeros(6), folder=tmp_path)
    assert read == [1]
    assert documents.states is not None
    np.testing.assert_array_equal(documents.states[0], documents.states[5])
    assert [len(states) for states in documents.states] == documents.n_chunks.tolist()


def test_broken_states_on_disk_are_made_again(make: Make, tmp_path: Path):
    model = make()
    first = _all_states(model, tmp_path).copy()
    file = next(tmp_path.glob(f"*/*/{STATES}"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    # Not to the bit: of an odd number of threads one of two workers has one more, and which one takes a row is a matter of time.
    np.testing.assert_allclose(_all_states(model, tmp_path), first, atol=2e-5)
    assert len(file.read_bytes()) == len(whole)


def _all_states(model: LongDocumentModel, folder: Path) -> NDArray[np.float32]:
    states = frozen_documents(model, some_texts(), np.zeros(4), folder=folder).states
    assert states is not None
    return np.concatenate(states)


def test_states_are_made_where_nothing_can_be_written(make: Make, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    # In other company a row may have other last bits.
    np.testing.assert_allclose(_all_states(make(), tmp_path / "file"), _all_states(make(), tmp_path / "cache"), atol=2e-5)


@pytest.mark.parametrize("states", ["chunks", "tokens"])
def test_states_on_disk_are_those_the_model_makes(make: Make, tmp_path: Path, states: str):
    model = make(states=states, aggregator="attention").eval()
    documents = frozen_documents(model, some_texts(), np.zeros(4), folder=tmp_path)
    rows = encode_documents(some_texts(), np.zeros(4), model.chunker(), takes_types=True)
    with torch.inference_mode():
        fresh = model.encode(rows.batch(range(4))["documents"])
        decided = model(documents.batch([2, 0])["documents"])
        wanted = model(rows.batch([2, 0])["documents"])
    assert documents.states is not None
    np.testing.assert_allclose(np.concatenate(documents.states), fresh.numpy(), atol=2e-5)
    torch.testing.assert_close(decided, wanted, atol=2e-5, rtol=1e-4)


SUMS = [{"aggregator": "mean"}, {"aggregator": "max"}, {"aggregator": "mean_max"}, {"aggregator": "attention", "states": "tokens"}]
SUMS += [{"aggregator": "label_attention", "aggregator_options": {"n_layers": 0}}]


@pytest.mark.parametrize("options", SUMS)
def test_a_head_on_a_frozen_encoder_sees_what_differs_between_documents(make: Make, tmp_path: Path, options: dict[str, Any]):
    model = make(**options)
    trainer = Trainer(model, arguments(tmp_path / "run"), train=TRAIN, freeze_encoder=True, state_cache=tmp_path)
    batch = trainer.train_dataset.batch(range(len(TRAIN)))["documents"]
    with torch.no_grad():
        states = model.eval().aggregator(*model.stack_states(batch.states, batch)).flatten(0, -2)
    torch.testing.assert_close(model.head.center, states.mean(0), atol=1e-5, rtol=1e-4)
    spread = states.std(0, correction=0)
    torch.testing.assert_close(model.head.spread, spread.clamp(min=0.1 * spread.mean()), atol=1e-5, rtol=1e-3)
    assert not model.head.bias.any(), "an untrained head prefers no label"
    trainer.train()
    model.save_pretrained(tmp_path / "saved")
    texts = [text for text, _ in TRAIN[:3]]
    told = longctx.chunk_and_classify(texts, tmp_path / "saved", device="cpu", backend="torch", dtype="float32")
    expected = torch.softmax(torch.from_numpy(trainer.predict(trainer.train_dataset.subset(range(3))).predictions), dim=1)
    np.testing.assert_allclose([list(each.probabilities.values()) for each in told], expected, atol=1e-5)


@pytest.mark.parametrize("aggregator", ["lstm", "transformer", "label_attention"])
def test_a_head_sees_what_layers_made_as_it_is(make: Make, tmp_path: Path, aggregator: str):
    model = make(aggregator=aggregator)
    Trainer(model, arguments(tmp_path / "run"), train=TRAIN, freeze_encoder=True, state_cache=tmp_path)
    assert not model.head.center.any()
    assert (model.head.spread == 1).all()


def test_a_head_that_has_learned_keeps_its_values_when_the_encoder_is_frozen_later(make: Make, tmp_path: Path):
    model = make()
    trainer = trained(model, tmp_path / "1")
    documents = trainer._encode(model, trainer._labelled["train"])
    before = trainer.predict(documents).predictions
    Trainer(model, arguments(tmp_path / "2"), train=TRAIN[:7], freeze_encoder=True, state_cache=tmp_path)
    assert model.head.center.any()
    np.testing.assert_allclose(trainer.predict(documents).predictions, before, atol=1e-5)


def test_documents_that_were_not_read_yet_train_a_frozen_model(make: Make, tmp_path: Path):
    model = make()
    documents = Trainer(model, arguments(tmp_path), train=TRAIN)._encode(model, read_labelled(TRAIN))
    before = weights(model.encoder)
    trained(model, tmp_path, data=documents, freeze_encoder=True)
    assert are_equal(weights(model.encoder), before)


@pytest.mark.parametrize("n_documents", [1, 2])
def test_a_frozen_model_trains_on_very_few_documents(make: Make, tmp_path: Path, n_documents: int):
    model = make()
    trained(model, tmp_path, data=TRAIN[:n_documents], freeze_encoder=True, state_cache=tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights(model).values())


def test_each_of_two_trainers_of_a_model_trains_what_it_was_made_for(make: Make, tmp_path: Path):
    model = make()
    everything = Trainer(model, arguments(tmp_path / "all"), train=TRAIN)
    head = Trainer(model, arguments(tmp_path / "head"), train=TRAIN, freeze_encoder=True, state_cache=tmp_path)
    before = weights(model.encoder)
    head.train()
    assert are_equal(weights(model.encoder), before)
    everything.train()
    assert not are_equal(weights(model.encoder), before)
