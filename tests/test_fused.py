"""Layers that write less have the values of those of transformers."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import longctx
from known_models import KNOWN, heard, model_of, some_ids
from longctx import _core
from longctx.inference.backends import export, fused, select
from longctx.inference.backends.base import LOGITS, Readout
from longctx.inference.backends.first_token import first_token_model
from longctx.inference.backends.fused import FusedLayer, fused_model
from longctx.inference.backends.layers import layers_of
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.packing import PackedRows, pack_backend
from longctx.inference.planning import Row, RowGroup
from longctx.nn.checkpoints import load_checkpoint
from models import DOCUMENTS, save_checkpoint

READOUTS = [LOGITS, *(Readout("embedding", pooling) for pooling in ("mean", "first", "last")), Readout("tokens", width=40)]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _two_threads() -> Any:
    """As many as such layers are for, wherever the tests run."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


def n_fused(model: nn.Module) -> int:
    return sum(isinstance(module, FusedLayer) for module in model.modules())


def model_for(family: str, readout: Readout) -> Any:
    model = model_of(family, "ForSequenceClassification" if readout.kind == "logits" else "Model")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.3)  # fresh ones are zero, which all ways to add them agree on
    return model


@pytest.mark.parametrize("readout", READOUTS, ids=str)
@pytest.mark.parametrize("family", KNOWN)
def test_values_are_those_of_the_model(family: str, readout: Readout):
    model = model_for(family, readout)
    changed = fused_model(first_token_model(model, readout))
    reads_first = readout.kind == "logits" or readout.pooling == "first"
    assert (n_fused(model), n_fused(changed)) == (0, 1 if reads_first and readout.kind != "tokens" else 2)
    plain, ours = (TorchBackend(each, readout, device=CPU) for each in (model, changed))
    mask = torch.arange(13) < torch.tensor([[13], [5], [1]])
    types = some_ids(3, 13) % 2 if plain.facts.takes_types else None
    for padding in (None, mask):
        expected = plain.run(some_ids(3, 13), padding, types)
        torch.testing.assert_close(ours.run(some_ids(3, 13), padding, types), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("readout", READOUTS[:-1], ids=str)
@pytest.mark.parametrize("family", KNOWN)
def test_packed_rows_have_the_values_of_the_model(family: str, readout: Readout):
    model, lengths = model_for(family, readout), [9, 1, 31, 2, 2, 17]
    packed = pack_backend(TorchBackend(fused_model(first_token_model(model, readout)), readout, device=CPU), 32)
    assert packed is not None
    assert n_fused(packed.model) > 0
    rows = [some_ids(length).int() for length in lengths]
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    plain = TorchBackend(model, readout, device=CPU)
    expected = torch.cat([plain.run(row[None], None, None) for row in rows])
    torch.testing.assert_close(packed.run(PackedRows(torch.cat(rows), None, starts, lengths)), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_bfloat16_is_as_near_to_float32_as_without(family: str):
    model, ids = model_for(family, LOGITS), some_ids(60, 13)
    exact = TorchBackend(model, LOGITS, device=CPU).run(ids, None, None)
    model = copy.deepcopy(model).to(torch.bfloat16)
    changed = fused_model(model)
    assert n_fused(changed) == 2
    plain, ours = (TorchBackend(each, LOGITS, device=CPU).run(ids, None, None) - exact for each in (model, changed))
    assert 0 < ours.square().mean() < 1.2 * plain.square().mean()


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_values_stay_when_the_next_batch_is_computed(readout: Readout):
    backend = TorchBackend(fused_model(first_token_model(model_for("Bert", readout), readout)), readout, device=CPU)
    values = backend.run(some_ids(4, 20), None, None)
    before = values.clone()
    for shape in ((5, 20), (4, 20), (1, 3)):
        backend.run(some_ids(*shape) // 2, None, None)
    assert torch.equal(values, before)


def test_rows_have_the_same_bits_alone_and_in_threads_beside_each_other():
    backend = TorchBackend(fused_model(model_for("Roberta", LOGITS)), LOGITS, device=CPU)
    batches = [some_ids(n_rows, n_tokens) for n_rows, n_tokens in ((3, 20), (1, 33), (7, 11), (2, 2)) * 20]
    alone = [backend.run(batch, None, None) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda batch: backend.run(batch, None, None), batches))
    assert all(map(torch.equal, alone, together))


def test_weights_are_shared_so_that_a_later_change_of_the_model_holds_for_both():
    model = model_for("Bert", LOGITS)
    changed = fused_model(model)
    assert all(one is other for one, other in zip(model.parameters(), changed.parameters(), strict=True))
    assert n_fused(changed) == 2

    def check(atol: float) -> None:
        with torch.inference_mode():
            torch.testing.assert_close(changed(some_ids(3, 13)).logits, model(some_ids(3, 13)).logits, atol=atol, rtol=atol)

    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    check(1e-5)
    model.to(torch.bfloat16)
    check(0.1)
    model.to(torch.float64)
    assert changed.dtype == torch.float64
    check(0)  # no layer computes otherwise


def test_gradients_are_those_of_the_model():
    model = model_for("Bert", LOGITS)
    loss = fused_model(model)(some_ids(3, 13)).logits.sum()
    loss.backward()
    weight = model.bert.encoder.layer[0].attention.self.value.weight
    expected = torch.autograd.grad(model(some_ids(3, 13)).logits.sum(), weight)[0]
    torch.testing.assert_close(weight.grad, expected)


def with_other(replace: Callable[[Any], None]) -> Any:
    model = model_of("Bert")
    replace(model.bert.encoder.layer[1])
    return model


class OwnLinear(nn.Linear):
    """Computes something of its own."""

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given) * 2


@pytest.mark.parametrize(
    "model",
    [
        partial(model_of, "Bert", hidden_act="relu"),
        partial(model_of, "Bert", hidden_act="gelu_new"),
        partial(model_of, "DistilBert", activation="relu"),
        partial(model_of, "Bert", attn_implementation="eager"),
        partial(model_of, "DebertaV2"),
        lambda: heard(model_of("Bert")),
        lambda: model_of("Bert").to(torch.float16),
        lambda: with_other(lambda layer: setattr(layer.intermediate, "dense", OwnLinear(16, 32))),
        lambda: with_other(lambda layer: setattr(layer.output, "dense", nn.Linear(32, 16, bias=False))),
        lambda: with_other(lambda layer: setattr(layer.output, "LayerNorm", nn.LayerNorm(16, bias=False))),
        lambda: with_other(lambda layer: delattr(layer.attention.self, "attention_head_size")),
    ],
)
def test_models_of_other_parts_stay_as_they_are(model: Callable[[], Any]):
    other = model()
    assert fused_model(other) is other


class OwnSilentLinear(nn.Linear):
    """Computes the same, today."""


def test_layers_with_parts_of_other_types_stay_as_they_are_even_with_the_same_values():
    model = model_of("Bert")
    output = model.bert.encoder.layer[0].output
    output.dense.__class__ = OwnSilentLinear
    assert fused_model(model) is model
    output.dense.__class__ = nn.Linear
    model.bert.encoder.layer[0].__class__ = type("OwnLayer", (type(model.bert.encoder.layer[0]),), {"__module__": "own"})
    assert fused_model(model) is model


def test_the_models_own_layers_compute_outside_of_a_run():
    model, ids = model_for("Bert", LOGITS), some_ids(3, 13)
    changed = fused_model(model)
    own: list[nn.Module] = []
    for layer in layers_of(changed):
        layer.layer.register_forward_hook(lambda layer, given, output: own.append(layer))
    with torch.inference_mode():
        expected = changed(ids).logits
        assert not own
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(changed(ids).logits.float(), expected, atol=0.1, rtol=0.1)
        torch.set_num_threads(3)
        torch.testing.assert_close(changed(ids).logits, expected)
        assert len(own) == 4
        torch.set_num_threads(2)
        torch.testing.assert_close(changed(ids).logits, expected, atol=0, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(changed(ids).logits, expected)
    assert len(own) == 6


def fill_memory() -> weakref.ref[Tensor]:
    with torch.inference_mode():
        fused_model(model_of("Bert"))(some_ids(3, 13))
    kept = weakref.ref(fused.KEPT_MEMORY._of_thread.__dict__["inner"])
    assert kept() is not None
    return kept


def test_kept_memory_is_freed_with_a_run_and_when_memory_runs_out(tmp_path: Path):
    folder = save_checkpoint(tmp_path / "model", num_labels=3)
    classifier = longctx.LongDocumentClassifier.from_pretrained(folder, device="cpu", dtype="float32", backend="torch", token_budget=64)
    kept = fill_memory()
    classifier(DOCUMENTS)
    assert kept() is None
    kept = fill_memory()
    group = RowGroup([Row(None, None, 9, layout=None)] * 2)  # type: ignore[arg-type]  # not looked at
    classifier._task.runner.shrink(group, had_company=False)
    assert kept() is None


def test_memory_that_is_freed_in_the_middle_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    changed, attend = fused_model(model_for("Bert", LOGITS)), fused.attend

    def attend_and_free(*inputs: Any, **packed: Any) -> Tensor:
        fused.KEPT_MEMORY.release()
        return attend(*inputs, **packed)

    with torch.inference_mode():
        expected = changed(some_ids(3, 13)).logits
        monkeypatch.setattr(fused, "attend", attend_and_free)
        assert torch.equal(changed(some_ids(3, 13)).logits, expected)


def test_compiled_and_exported_models_have_the_layers_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, seen = save_checkpoint(tmp_path / "model", num_labels=3), []
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    compiled = longctx.LongDocumentClassifier.from_pretrained(folder, compile=True, **settings)
    assert n_fused(compiled._task.runner.backend.model) == 0
    monkeypatch.setattr(export, "open_openvino", lambda checkpoint, *others, **named: seen.append(checkpoint.model))
    opener = select.BackendOpener(load_checkpoint(folder), select.Request("openvino", "float32"), device=CPU, max_tokens=32)
    opener(LOGITS)
    assert [n_fused(model) for model in seen] == [0]


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_a_model_that_would_give_other_values_stays_as_it_is(n_threads: int, monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(n_threads)
    model = model_of("Bert")
    assert n_fused(fused_model(model)) == 2
    attend = fused.attend
    monkeypatch.setattr(fused, "attend", lambda *inputs, **packed: attend(*inputs, **packed) + 1)
    assert fused_model(model) is model


def test_with_more_threads_for_a_batch_layers_stay_as_they_are():
    model = model_of("Bert")
    torch.set_num_threads(5)
    assert fused_model(model) is model


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_packed_rows_are_compared_as_they_are_read(n_threads: int, monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(n_threads)
    backend = TorchBackend(fused_model(model_of("Bert")), LOGITS, device=CPU)
    assert pack_backend(backend, 32) is not None
    attend = fused.attend
    monkeypatch.setattr(fused, "attend", lambda *inputs, **packed: attend(*inputs, **packed) + ("row_lengths" in packed))
    assert pack_backend(backend, 32) is None


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_a_classifier_decides_as_without(family: str, deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save_checkpoint(tmp_path / "model", family, num_labels=3)
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "backend": "torch", "deterministic": deterministic}
    ours = longctx.LongDocumentClassifier.from_pretrained(folder, **settings)
    assert n_fused(ours._task.runner.backend.model) > 0
    monkeypatch.setattr(select, "fused_model", lambda model: model)
    plain = longctx.LongDocumentClassifier.from_pretrained(folder, **settings)
    assert n_fused(plain._task.runner.backend.model) == 0
    np.testing.assert_allclose(ours.predict_proba(DOCUMENTS), plain.predict_proba(DOCUMENTS), atol=1e-5)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def array(tensor: Tensor) -> Any:
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


@given(n_rows=st.integers(0, 5), width=st.integers(1, 100), seed=st.integers(0, 1000), is_narrow=st.booleans())
def test_what_is_between_products_is_what_torch_computes(n_rows: int, width: int, seed: int, is_narrow: bool):
    dtype = torch.bfloat16 if is_narrow else torch.float32
    # One rounding, of what torch computes in float32 from the same numbers.
    tolerance = {"atol": 1e-4, "rtol": 2**-8 if is_narrow else 1e-4}
    states, residual = (numbers(n_rows, width, seed=seed + i).to(dtype) for i in (0, 1))
    columns = numbers(3, width, seed=seed + 2).to(dtype)
    bias, scale, shift = columns.float()
    got = states.clone()
    _core.bias_gelu(array(got), array(columns[0]))
    torch.testing.assert_close(got.float(), nn.functional.gelu(states.float() + bias), **tolerance)
    expected = nn.functional.layer_norm(states.float() + bias + residual.float(), (width,), scale, shift, 1e-5)
    _core.bias_add_norm(array(states), array(columns[0]), array(residual), scale=array(columns[1]), shift=array(columns[2]), epsilon=1e-5)
    torch.testing.assert_close(states.float(), expected, **tolerance)


def test_arrays_of_wrong_shapes_are_refused_and_left_alone():
    states, bias = np.ones((4, 6), np.float32), np.ones(6, np.float32)
    norm = {"scale": bias, "shift": bias, "epsilon": 1e-5}
    for wrong in (bias[:5], np.ones(7, np.float32), np.ones(12, np.float32)[::2]):
        with pytest.raises(ValueError, match=r"columns|contiguous"):
            _core.bias_gelu(states, wrong)
        with pytest.raises(ValueError, match=r"columns|contiguous"):
            _core.bias_add_norm(states, wrong, states.copy(), **norm)
        with pytest.raises(ValueError, match=r"columns|contiguous"):
            _core.bias_add_norm(states, bias, states.copy(), **{**norm, "shift": wrong})
    with pytest.raises(ValueError, match="differ in shape"):
        _core.bias_add_norm(states, bias, np.ones((3, 6), np.float32), **norm)
    with pytest.raises(ValueError, match="contiguous"):
        _core.bias_gelu(np.ones((6, 4), np.float32).T, bias)
    with pytest.raises(TypeError):
        _core.bias_gelu(states.astype(np.float64), bias)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.bias_gelu(states, bias.astype(np.int16))
    assert (states == 1).all()
