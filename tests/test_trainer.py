"""Training: exact gradients in little memory, frozen states, everything that changes how weights learn, resume."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")

import torch
from safetensors.torch import load_file

import longctx
from longctx import LongDocumentModel, Trainer
from longctx.errors import ConfigError, DocumentError
from longctx.learn.encoded import ChunkDraw
from longctx.learn.losses import loss_of
from longctx.nn.aggregators import AGGREGATORS, LearnedAggregator
from training import LABELS, TRAIN, Make, are_equal, arguments, gradients, some_texts, trained, weights

USABLE = [name for name, cls in AGGREGATORS.items() if not cls.of_label_values]
READ = [
    (name, states)
    for name in USABLE
    for states in ("chunks", "tokens")
    if states == "chunks" or issubclass(AGGREGATORS[name], LearnedAggregator)
]
"""Aggregators with the states they read; the mean and the maximum of tokens are refused, which another test holds them to."""


@pytest.mark.parametrize(("aggregator", "states"), READ)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_cached_gradients_equal_plain_ones_with_dropout_on(make: Make, aggregator: str, states: str, dtype: torch.dtype, tolerance: float):
    model = make(aggregator=aggregator, states=states).to(dtype).train()
    told, plain = gradients(model, cached=False)
    again, cached = gradients(model, cached=True)
    assert again == pytest.approx(told, abs=tolerance)  # the loss, and the random number after it
    assert plain.keys() == cached.keys()
    assert len(plain) == len(list(model.named_parameters()))
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert float((cached[name] - gradient).abs().max()) <= tolerance * largest, name


def test_gradients_differ_when_the_encoder_draws_other_dropout(make: Make):
    """The test above could not fail if dropout were off."""
    model = make().train()
    first = gradients(model, cached=False)[1]
    torch.manual_seed(12)
    model.eval()
    second = gradients(model, cached=False)[1]
    assert any(not torch.allclose(first[name], second[name], atol=1e-4) for name in first)


def test_both_kinds_of_step_train_to_the_same_weights(make: Make, tmp_path: Path):
    plain, cached = make(), make()
    settings = {"optim": "sgd", "learning_rate": 0.05}  # AdamW divides by what is next to nothing, and makes much of rounding
    trained(plain, tmp_path, gradient_cache=False, token_budget=64, settings=settings)
    trained(cached, tmp_path, gradient_cache=True, token_budget=64, settings=settings)
    untouched = weights(make())
    moved = 0.0
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(cached)[name], tensor, atol=1e-5, rtol=1e-4)
        moved = max(moved, float((tensor - untouched[name]).abs().max()))
    assert moved > 1e-3


def test_gradient_accumulation_takes_the_mean_over_its_steps(make: Make, tmp_path: Path):
    whole, parts = make(dropout=0.0), make(dropout=0.0)
    for model in (whole, parts):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    settings = {"max_steps": 1, "train_sampling_strategy": "sequential"}
    trained(whole, tmp_path, settings={**settings, "per_device_train_batch_size": 8}, gradient_cache=True)
    trained(parts, tmp_path, settings={**settings, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}, gradient_cache=True)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, atol=2e-4, rtol=1e-3)


def test_a_run_repeats_with_its_seed_and_not_with_another(make: Make, tmp_path: Path):
    runs = [weights(trained(make(), tmp_path, settings={"seed": seed}).model) for seed in (3, 3, 4)]
    assert are_equal(runs[0], runs[1])
    assert not are_equal(runs[0], runs[2])


def test_random_chunks_are_drawn_anew_in_each_epoch_and_for_evaluation_not_at_all(make: Make, tmp_path: Path):
    draw = ChunkDraw(3, seed=1)
    first = draw(5, 10)
    assert len(first) == 3
    assert (np.diff(first) > 0).all()
    assert (draw(5, 10) == first).all()
    draw.set_epoch(1)
    assert any((draw(document, 10) != ChunkDraw(3, seed=1)(document, 10)).any() for document in range(5))
    assert (draw(5, 2) == [0, 1]).all()
    seen: list[int] = []
    model = make()
    forward = model.decide

    def noting(states: torch.Tensor, documents: Any) -> torch.Tensor:
        seen.append(int(documents.n_chunks.max()))
        return forward(states, documents)

    model.decide = noting  # type: ignore[method-assign]
    trainer = Trainer(model, arguments(tmp_path, num_train_epochs=1), train=TRAIN, validation=TRAIN[:3], max_train_chunks=2)
    trainer.train()
    assert max(seen) == 2
    trainer.evaluate()
    assert max(seen) > 2


def test_lora_trains_adapters_alone_and_a_saved_model_has_none(make: Make, tmp_path: Path):
    pytest.importorskip("peft", reason="needs the extra: pip install 'longctx[train]'")
    model = make()
    before = weights(model)
    trainer = trained(model, tmp_path / "run", lora=True, settings={"save_strategy": "epoch"})
    base = {name.replace("base_layer.", ""): tensor for name, tensor in weights(model).items() if "lora" not in name}
    assert [name for name in before if name.startswith("encoder.") and not torch.equal(base[name], before[name])] == []
    assert any("lora_B" in name and tensor.abs().max() > 0 for name, tensor in weights(model).items())
    trainer.save_model(str(tmp_path / "out"))
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert saved.keys() == before.keys()
    assert [name for name in before if name.startswith("encoder.") and not torch.equal(saved[name], before[name])]
    model.eval()
    mine = longctx.chunk_and_classify(some_texts(), model, dtype="float32")
    theirs = longctx.chunk_and_classify(some_texts(), str(tmp_path / "out"), dtype="float32")
    assert [one.score for one in theirs] == pytest.approx([one.score for one in mine], abs=1e-5)


def test_a_model_saved_by_hand_after_lora_has_no_adapters_either(make: Make, tmp_path: Path):
    pytest.importorskip("peft", reason="needs the extra: pip install 'longctx[train]'")
    model = make()
    names = weights(model).keys()
    trained(model, tmp_path / "run", lora=True)
    model.save_pretrained(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == names


def test_lower_layers_learn_slower_and_the_head_at_its_own_rate(make: Make, tmp_path: Path):
    trainer = Trainer(make(), arguments(tmp_path, weight_decay=0.1), train=TRAIN, layer_decay=0.5, head_learning_rate=1e-2)
    rates: dict[str, float] = {}
    names = {weight: name for name, weight in trainer.model.named_parameters()}
    for group in trainer.create_optimizer().param_groups:
        rates |= {names[weight]: group["lr"] for weight in group["params"]}
    assert rates["head.weight"] == 1e-2
    assert rates["encoder.encoder.layer.1.output.dense.weight"] == pytest.approx(1e-3)
    assert rates["encoder.encoder.layer.0.output.dense.weight"] == pytest.approx(5e-4)
    assert rates["encoder.embeddings.word_embeddings.weight"] == pytest.approx(2.5e-4)
    assert rates.keys() == set(names.values())


def test_adversarial_steps_put_the_embeddings_back_and_add_a_gradient(make: Make, tmp_path: Path):
    quiet, moved = make(), make()
    for model, epsilon in ((quiet, 0.0), (moved, 1.0)):
        trainer = Trainer(model, arguments(tmp_path), train=TRAIN, adversarial_epsilon=epsilon)
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))
    word = "encoder.embeddings.word_embeddings.weight"
    assert torch.equal(weights(quiet)[word], weights(moved)[word])
    first, second = (model.get_submodule("head").weight.grad for model in (quiet, moved))
    assert not torch.allclose(first, second)
    assert not torch.allclose(2 * first, second)


def test_class_weights_and_smoothing_are_those_of_torch():
    values, truth = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 1, 0])
    heavy = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    wanted = torch.nn.CrossEntropyLoss(weight=heavy, label_smoothing=0.1)(values, truth)
    torch.testing.assert_close(loss_of(values, truth, "single_label", weights=heavy, smoothing=0.1), wanted)
    many = torch.nn.functional.one_hot(truth, 3)
    wanted = torch.nn.BCEWithLogitsLoss(pos_weight=heavy)(values, many.double())
    torch.testing.assert_close(loss_of(values, many, "multi_label", weights=heavy, smoothing=0.0), wanted)


def test_balanced_weights_let_every_class_weigh_alike():
    from longctx.learn.losses import class_weights

    found = class_weights("balanced", np.array([0, 0, 0, 1]), ("a", "b"), "single_label")
    assert found is not None
    assert found.tolist() == pytest.approx([4 / 6, 2.0])
    assert class_weights({"b": 3.0}, np.array([0, 1]), ("a", "b"), "single_label").tolist() == [1.0, 3.0]  # type: ignore[union-attr]
    for wrong in ({"c": 1.0}, {"a": -1.0}, {"a": "much"}, "equal"):
        with pytest.raises(ConfigError, match="class_weights"):
            class_weights(wrong, np.array([0, 1]), ("a", "b"), "single_label")  # type: ignore[arg-type]


def test_training_by_length_leaves_predictions_in_the_order_of_the_documents(make: Make, tmp_path: Path):
    settings = {"train_sampling_strategy": "group_by_length", "eval_strategy": "epoch"}
    trainer = trained(make(), tmp_path, settings=settings, validation=TRAIN[:5])
    assert [entry["epoch"] for entry in trainer.state.log_history if "eval_loss" in entry] == [1.0, 2.0]
    documents = trainer._encode(trainer.model, trainer._labelled["train"])
    alone = [trainer.predict(documents.subset([n])).predictions[0] for n in range(len(documents))]
    np.testing.assert_allclose(trainer.predict(documents).predictions, alone, atol=1e-5)


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_a_new_head_begins_with_what_is_usual(make: Make, tmp_path: Path, problem: str):
    many = [(text, [label] if n % 3 else []) for n, (text, label) in enumerate(TRAIN)]
    values = [(text, 2.0 + n / 100) for n, (text, _) in enumerate(TRAIN)]
    data: Any = many if problem == "multi_label" else values
    model = make(problem=problem, labels=LABELS if problem == "multi_label" else ["value"])
    trainer = Trainer(model, arguments(tmp_path), train=data, validation=data)
    usual = model.head.bias.detach().numpy()
    wanted = np.log(1 / 2) if problem == "multi_label" else 2.115
    assert usual[0] == pytest.approx(wanted, abs=0.3)
    trainer.train()
    assert np.isfinite(trainer.evaluate()["eval_loss"])


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([("fine", "cat"), ("odd", "bird")], ConfigError, r"train\[1\].*bird.*'cat', 'dog'"),
        ([("fine", "cat"), ("  ", "dog")], DocumentError, r"train\[1\]"),
        ([{"text": "fine", "label": "cat"}, {"text": "no label"}], ConfigError, "label"),
        ([], ConfigError, "no documents"),
    ],
)
def test_what_is_wrong_in_the_data_is_told_with_its_row(make: Make, tmp_path: Path, data: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        Trainer(make(), arguments(tmp_path), train=data)


@pytest.mark.parametrize(
    "options", [{"freeze_encoder": True, "lora": True}, {"max_train_chunks": 0}, {"layer_decay": 2.0}, {"lora": "yes"}]
)
def test_options_that_exclude_each_other_are_refused(make: Make, tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(ConfigError):
        Trainer(make(), arguments(tmp_path), train=TRAIN, **options).create_optimizer()


def test_early_stopping_takes_back_the_best_weights(make: Make, tmp_path: Path):
    from transformers import EarlyStoppingCallback

    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    trainer = Trainer(
        make(),
        arguments(tmp_path, num_train_epochs=6, **{**settings, "learning_rate": 0.05}),
        train=TRAIN,
        validation=TRAIN[:6],
        callbacks=[EarlyStoppingCallback(1)],
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint is not None
    best = load_file(Path(trainer.state.best_model_checkpoint) / "model.safetensors")
    assert are_equal(best, weights(trainer.model))


def test_documents_are_judged_by_the_name_that_transformers_has_for_them(make: Make, tmp_path: Path):
    trainer = Trainer(make(), arguments(tmp_path), train=TRAIN, validation=TRAIN[:4])
    assert trainer.evaluate(eval_dataset=TRAIN[:6], controls=False).n_documents == 6
    assert trainer.evaluate().keys() >= {"eval_loss", "eval_accuracy", "eval_macro_f1"}


def test_a_checkpoint_can_be_given_to_chunk_and_classify(make: Make, tmp_path: Path):
    trainer = trained(make(), tmp_path, settings={"save_strategy": "epoch", "num_train_epochs": 1})
    trainer.model.eval()
    folder = next(tmp_path.glob("checkpoint-*"))
    own = longctx.chunk_and_classify(some_texts(), trainer.model, dtype="float32", deterministic=True)
    assert list(longctx.chunk_and_classify(some_texts(), str(folder), dtype="float32", deterministic=True)) == list(own)


PROGRAM = """
import sys
sys.path[:0] = {path!r}
import test_trainer as t
from pathlib import Path
folder = Path({folder!r})
model = t.LongDocumentModel.from_encoder({encoder!r}, labels=t.LABELS, max_tokens=16, overlap_tokens=3)
args = t.arguments(folder, num_train_epochs=3, save_strategy="steps", save_steps=2, save_total_limit=2, seed=5)
trainer = t.Trainer(model, args, train=t.TRAIN, max_train_chunks=3, {options})
from transformers.trainer_utils import get_last_checkpoint
last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
print("from", last, flush=True)
trainer.train(resume_from_checkpoint=last)
model.save_pretrained({out!r})
"""


def _run(folder: Path, encoder: Path, out: Path, options: str) -> subprocess.Popen[str]:
    path = [str(Path(__file__).parent), str(Path(longctx.__file__).parents[1])]
    program = PROGRAM.format(path=path, folder=str(folder), encoder=str(encoder), out=str(out), options=options)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
@pytest.mark.parametrize("options", ["freeze_encoder=False", "lora=True"])
def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(encoder: Path, tmp_path: Path, options: str):
    whole = _run(tmp_path / "whole", encoder, tmp_path / "a", options)
    whole.communicate(timeout=240)
    assert whole.returncode == 0
    killed = _run(tmp_path / "killed", encoder, tmp_path / "b", options)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "killed").glob("checkpoint-*/trainer_state.json")):
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=60)
    assert not (tmp_path / "b").exists()
    resumed = _run(tmp_path / "killed", encoder, tmp_path / "b", options)
    out, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0
    assert "checkpoint-" in out
    assert are_equal(load_file(tmp_path / "a" / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors"))


TWO_PROCESSES = """
import sys
sys.path[:0] = {path!r}
import test_trainer as t
model = t.LongDocumentModel.from_encoder({encoder!r}, labels=t.LABELS, max_tokens=16, overlap_tokens=3, dropout=0.0)
for module in model.modules():
    if isinstance(module, t.torch.nn.Dropout):
        module.p = 0.0
backend = {{"ddp_backend": "gloo"}} if {batch} == 2 else {{}}
settings = {{"optim": "sgd", "learning_rate": 0.05, "train_sampling_strategy": "sequential", "num_train_epochs": 1}}
args = t.arguments({folder!r}, **settings, per_device_train_batch_size={batch}, gradient_accumulation_steps={steps}, **backend)
t.Trainer(model, args, train=t.TRAIN, gradient_cache={cache}).train()
if args.process_index == 0:
    model.save_pretrained({out!r})
"""


@pytest.mark.parametrize("cache", ["True", "'auto'"])
def test_two_processes_learn_what_one_learns(encoder: Path, tmp_path: Path, cache: str):
    path = [str(Path(__file__).parent), str(Path(longctx.__file__).parents[1])]
    given = {"path": path, "encoder": str(encoder), "folder": str(tmp_path / "run"), "cache": cache}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    programs = [TWO_PROCESSES.format(**given, out=str(tmp_path / "two"), batch=2, steps=2)] * 2
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} for rank in range(2)]
    both = [
        subprocess.Popen([sys.executable, "-c", program], env={**environment, **rank})
        for program, rank in zip(programs, ranks, strict=True)
    ]
    assert [process.wait(240) for process in both] == [0, 0]
    alone = TWO_PROCESSES.format(**given, out=str(tmp_path / "one"), batch=8, steps=1)
    subprocess.run([sys.executable, "-c", alone], check=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert not are_equal(one, weights(LongDocumentModel.from_encoder(encoder, labels=LABELS, max_tokens=16, overlap_tokens=3)))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_copy_of_a_model_trains_alike(make: Make, tmp_path: Path):
    model = make()
    copied = copy.deepcopy(model)
    assert are_equal(weights(trained(model, tmp_path).model), weights(trained(copied, tmp_path).model))
