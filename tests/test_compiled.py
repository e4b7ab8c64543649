"""Which batches are compiled, and that they are computed as by the plain model. What torch makes of them is torch's own matter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from longctx.inference.backends import compiled, twins
from longctx.inference.backends.base import LOGITS
from longctx.inference.backends.compiled import MOST_SHAPES, CompiledRows
from longctx.inference.backends.torch_backend import TorchBackend
from models import save_checkpoint


class Optimized:
    """Stands for what ``torch.compile`` gives, which has no length, and no truth value either."""

    def __init__(self, model: Any, shapes: list[tuple[int, ...]]) -> None:
        self.model = model
        self.shapes = shapes

    def __len__(self) -> int:
        raise TypeError("does not support len()")

    def __call__(self, **inputs: Any) -> Any:
        self.shapes.append(tuple(inputs["input_ids"].shape))
        return self.model(**inputs)


class Compiler:
    """Stands for ``torch.compile``: what it is given, and what is called of that."""

    def __init__(self) -> None:
        self.models: list[Any] = []
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, model: Any, *, dynamic: bool) -> Optimized:
        assert not dynamic
        self.models.append(model)
        return Optimized(model, self.shapes)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    stand_in = Compiler()
    monkeypatch.setattr(torch, "compile", stand_in)
    return stand_in


def model_of(folder: Path, family: str) -> Any:
    save_checkpoint(folder, family)
    return getattr(transformers, family + "ForSequenceClassification").from_pretrained(folder).eval()


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(5, 40, shape, generator=torch.Generator().manual_seed(1))


def test_full_batches_are_compiled_from_the_second_on_and_rows_with_a_mask_never_are(compiler: Compiler, tmp_path: Path):
    backend = TorchBackend(model_of(tmp_path, "Bert"), LOGITS, device=torch.device("cpu"), compile_tokens=64)
    for _ in range(2):
        for n_rows in (4, 4, 4, 3):  # the last batch of a run is smaller, also in the next run
            backend.run(ids(n_rows, 16), None, None)
            backend.run(ids(n_rows, 16), torch.ones(n_rows, 16, dtype=torch.bool), None)
    assert compiler.shapes == [(4, 16)] * 5
    assert backend.n_parallel == 1


def test_runs_of_one_small_batch_are_not_compiled_however_many_there_are(compiler: Compiler, tmp_path: Path):
    backend = TorchBackend(model_of(tmp_path, "Bert"), LOGITS, device=torch.device("cpu"), compile_tokens=64)
    for n_rows in (1, 1, 2, 2, 3, 3):
        backend.run(ids(n_rows, 16), None, None)
    assert compiler.shapes == []


def test_few_shapes_are_compiled(compiler: Compiler, tmp_path: Path):
    rows = CompiledRows(model_of(tmp_path, "Bert"), 64)
    shapes = [(64 // width, width) for width in (4, 8, 12, 16, 20, 24)]
    chosen = [[rows.forward_for(shape) is not None for _ in range(2)] for shape in shapes]
    assert chosen == [[False, n < MOST_SHAPES] for n in range(len(shapes))]
    assert len(compiler.models) == 1


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert", "DebertaV2", "GPT2"])
def test_what_is_compiled_gives_the_values_of_the_model_and_shares_its_weights(family: str, compiler: Compiler, tmp_path: Path):
    model = model_of(tmp_path, family)
    before = model.config._attn_implementation
    CompiledRows(model, 64)
    (taken,) = compiler.models
    assert model.config._attn_implementation == before
    assert all(one is other for one, other in zip(model.parameters(), taken.parameters(), strict=True))
    assert (taken is not model) == (family in {"Bert", "Roberta", "XLMRoberta", "DistilBert"})
    rows = ids(1, 12)
    with torch.inference_mode():
        torch.testing.assert_close(taken(input_ids=rows).logits, model(input_ids=rows).logits, atol=1e-5, rtol=1e-5)


def test_a_model_that_would_be_wrong_without_masks_is_compiled_as_it_is(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = model_of(tmp_path, "Bert")
    monkeypatch.setattr(twins, "relative_difference", lambda values, expected: 1.0)
    CompiledRows(model, 64)
    assert compiler.models == [model]


def test_attention_without_masks_refuses_one():
    query = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="no mask"):
        compiled._attend(torch.nn.Identity(), query, query, query, torch.ones(1, 3))


def test_what_torch_compiles_gives_the_values_of_the_model(tmp_path: Path):
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    model = model_of(tmp_path, "Bert")
    backend = TorchBackend(model, LOGITS, device=torch.device("cpu"), compile_tokens=64)
    plain = TorchBackend(model, LOGITS, device=torch.device("cpu")).run(ids(4, 16), None, None)
    for _ in range(3):
        torch.testing.assert_close(backend.run(ids(4, 16), None, None), plain, atol=1e-5, rtol=1e-5)
    assert backend.compiled is not None
    assert backend.compiled.shapes == {(4, 16)}
