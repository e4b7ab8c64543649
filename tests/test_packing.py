"""Packed rows give what the plain model gives, where a model can read them; elsewhere they are not used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import longctx
from longctx.inference import packing
from longctx.inference.backends.base import LOGITS, Readout
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.packing import PackedBackend, PackedRows, pack_backend, varlen_options
from models import DOCUMENTS, save_checkpoint

LENGTHS = [9, 1, 31, 2, 2, 17]
HEADS = [("ForSequenceClassification", LOGITS), ("Model", Readout("embedding", "mean")), ("Model", Readout("embedding", "first"))]
CPU = torch.device("cpu")


def backend_of(folder: Path, family: str, head: str, readout: Readout, dtype: torch.dtype = torch.float32) -> TorchBackend:
    save_checkpoint(folder, family, head)
    model = getattr(transformers, family + head).from_pretrained(folder).eval().to(dtype)
    return TorchBackend(model, readout, device=CPU)


def rows_of(backend: TorchBackend) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, backend.facts.n_known_ids or 1, (length,), generator=generator, dtype=torch.int32) for length in LENGTHS]


@pytest.mark.parametrize(("head", "readout"), HEADS)
@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert"])
def test_packed_rows_have_the_values_of_single_rows(family: str, head: str, readout: Readout, tmp_path: Path):
    backend = backend_of(tmp_path, family, head, readout)
    packed = pack_backend(backend, 32)
    assert packed is not None
    rows = rows_of(backend)  # padding ids among them, which RoBERTa does not count
    types = [torch.arange(len(row), dtype=torch.int32) % 2 for row in rows] if backend.facts.takes_types else None
    starts = torch.tensor([0, *np.cumsum(LENGTHS)], dtype=torch.int32)
    together = packed.run(PackedRows(torch.cat(rows), None if types is None else torch.cat(types), starts, LENGTHS))
    for i, row in enumerate(rows):
        alone = backend.run(row[None], None, None if types is None else types[i][None])
        torch.testing.assert_close(together[i : i + 1], alone, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("head", "readout"), HEADS)
@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_rows_are_packed_in_bfloat16_too(family: str, head: str, readout: Readout, tmp_path: Path):
    assert pack_backend(backend_of(tmp_path, family, head, readout, torch.bfloat16), 32) is not None


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_packing_shares_the_weights_and_leaves_the_model_as_it_was(family: str, tmp_path: Path):
    backend = backend_of(tmp_path, family, "ForSequenceClassification", LOGITS)
    before = backend.model.config._attn_implementation
    packed = PackedBackend(backend.model, LOGITS, 32)
    assert backend.model.config._attn_implementation == before
    pairs = zip(backend.model.parameters(), packed.model.parameters(), strict=True)
    assert all(one is other for one, other in pairs)


@pytest.mark.parametrize("family", ["DebertaV2", "XLNet", "GPT2", "MPNet"])
def test_other_architectures_take_the_padded_path(family: str, tmp_path: Path):
    if family == "MPNet":
        small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
        model = transformers.MPNetForSequenceClassification(transformers.MPNetConfig(**small)).eval()
        assert pack_backend(TorchBackend(model, LOGITS, device=CPU), 32) is None
        return
    folder = save_checkpoint(tmp_path, family, num_labels=3)
    classifier = longctx.LongDocumentClassifier.from_pretrained(folder, device="cpu")
    run = classifier(DOCUMENTS).run
    assert run is not None
    assert run.batches > run.packed_batches == 0


def test_a_model_whose_packed_rows_differ_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backend = backend_of(tmp_path, "Bert", "ForSequenceClassification", LOGITS)
    monkeypatch.setattr(PackedBackend, "_positions", lambda self, ids, starts: torch.zeros_like(ids))
    assert pack_backend(backend, 32) is None


def test_a_model_that_fails_on_packed_rows_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backend = backend_of(tmp_path, "Bert", "ForSequenceClassification", LOGITS)

    def fail(*_: object) -> None:
        raise TypeError("unexpected argument")

    monkeypatch.setattr(PackedBackend, "_positions", fail)
    assert pack_backend(backend, 32) is None


def test_tails_are_packed_and_full_rows_are_not(tmp_path: Path):
    folder = save_checkpoint(tmp_path, num_labels=3)
    run = longctx.chunk_and_classify(DOCUMENTS, folder, device="cpu").run
    assert run is not None
    assert run.padding_tokens == 0
    assert 0 < run.packed_batches < run.batches


def test_packed_attention_refuses_what_it_would_get_wrong():
    query = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="packed row"):
        packing._attend(torch.nn.Identity(), query, query, query, torch.ones(1, 3), cu_seq_lens_q=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="packed row"):
        packing._attend(torch.nn.Identity(), query, query, query, None)


TORCH_2_10 = frozenset({"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "is_causal", "return_aux"})
TORCH_2_11 = frozenset({"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "return_aux", "scale", "window_size"})


def test_attention_over_unequal_lengths_is_called_as_each_torch_knows_it():
    assert varlen_options(TORCH_2_10, scaling=0.25, sliding_window=None, head_width=16) == {}
    options = {"scale": 0.5, "window_size": (7, 7)}
    assert varlen_options(TORCH_2_11, scaling=0.5, sliding_window=8, head_width=16) == options
    with pytest.raises(ValueError, match="scale"):
        varlen_options(TORCH_2_10, scaling=0.5, sliding_window=None, head_width=16)
    with pytest.raises(ValueError, match="window"):
        varlen_options(TORCH_2_10, scaling=0.25, sliding_window=8, head_width=16)


def test_the_installed_torch_has_this_attention():
    varlen = packing._varlen()
    assert varlen is not None
    assert {"cu_seq_q", "max_q"} <= varlen[1]
