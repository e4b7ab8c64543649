"""Where a row is worth its first token, the last layer computes that one alone, and values are those of the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import longctx
from known_models import KNOWN, heard, model_of, some_ids
from longctx.inference.backends import first_token, select
from longctx.inference.backends.base import LOGITS, Readout
from longctx.inference.backends.compiled import ATTENTION_NAME
from longctx.inference.backends.first_token import FirstTokenLayer, first_token_model, is_first_token_model
from longctx.inference.backends.layers import layers_of
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.backends.twins import twin
from longctx.inference.packing import PackedRows, pack_backend
from models import DOCUMENTS, save_checkpoint

FIRST, MEAN = Readout("embedding", "first"), Readout("embedding", "mean")
CPU = torch.device("cpu")


class OwnClassifier(transformers.BertForSequenceClassification):
    """A head that transformers does not have."""


@pytest.mark.parametrize(("head", "readout"), [("ForSequenceClassification", LOGITS), ("Model", FIRST)])
@pytest.mark.parametrize("family", KNOWN)
def test_values_are_those_of_the_whole_model(family: str, head: str, readout: Readout):
    model = model_of(family, head)
    changed = first_token_model(model, readout)
    assert is_first_token_model(changed)
    assert not is_first_token_model(model)
    plain, ours = (TorchBackend(each, readout, device=CPU) for each in (model, changed))
    mask = torch.arange(13) < torch.tensor([[13], [5], [1]])
    types = some_ids(3, 13) % 2 if plain.facts.takes_types else None
    for given in (None, mask):
        expected = plain.run(some_ids(3, 13), given, types)
        torch.testing.assert_close(ours.run(some_ids(3, 13), given, types), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("head", "readout"), [("ForSequenceClassification", LOGITS), ("Model", FIRST)])
@pytest.mark.parametrize("family", KNOWN)
def test_packed_rows_have_the_values_of_the_whole_model(family: str, head: str, readout: Readout):
    model, lengths = model_of(family, head), [9, 1, 31, 2, 2, 17]
    packed = pack_backend(TorchBackend(first_token_model(model, readout), readout, device=CPU), 32)
    assert packed is not None
    assert is_first_token_model(packed.model)
    rows = [some_ids(length).int() for length in lengths]
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    plain = TorchBackend(model, readout, device=CPU)
    expected = torch.cat([plain.run(row[None], None, None) for row in rows])
    torch.testing.assert_close(packed.run(PackedRows(torch.cat(rows), None, starts, lengths)), expected, atol=2e-5, rtol=2e-5)


def test_the_last_layer_computes_one_token_of_a_row_and_the_others_all():
    changed = first_token_model(model_of("Bert"), LOGITS)
    seen: list[int] = []
    for layer in layers_of(changed):
        inner = layer.parts.up if isinstance(layer, FirstTokenLayer) else layer.intermediate.dense
        inner.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    with torch.inference_mode():
        changed(input_ids=some_ids(3, 13))
    assert seen == [13, 1]


def test_weights_are_shared_so_that_a_later_change_of_the_model_holds_for_both():
    model = model_of("Roberta")
    changed = first_token_model(model, LOGITS)
    assert all(one is other for one, other in zip(model.parameters(), changed.parameters(), strict=True))
    model.to(torch.bfloat16)
    assert changed.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("model", "readout"),
    [
        (lambda: model_of("Bert", "Model"), MEAN),
        (lambda: model_of("Bert", "Model"), Readout("tokens", width=32)),
        (lambda: model_of("Bert", "Model"), Readout("embedding", "last")),
        (lambda: model_of("Bert", attn_implementation="eager"), LOGITS),
        (lambda: heard(model_of("Bert")), LOGITS),
        (lambda: heard(model_of("Bert"), "encoder.layer.1"), LOGITS),
        (lambda: OwnClassifier(model_of("Bert").config).eval(), LOGITS),
        (lambda: model_of("ModernBert", pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), LOGITS),
        (lambda: model_of("DebertaV2"), LOGITS),
    ],
)
def test_models_that_read_more_or_are_not_known_stay_as_they_are(model: Any, readout: Readout):
    given = model()
    assert first_token_model(given, readout) is given


def test_a_model_that_would_give_other_values_stays_as_it_is(monkeypatch: pytest.MonkeyPatch):
    model = model_of("Bert")
    attend = first_token.attend
    monkeypatch.setattr(first_token, "attend", lambda *given, **packed: attend(*given, **packed) + 1)
    assert first_token_model(model, LOGITS) is model


def test_a_model_of_other_parts_stays_as_it_is():
    model = model_of("Bert")
    del model.bert.encoder.layer[-1].attention.self.attention_head_size  # as a future version may have it
    assert first_token_model(model, LOGITS) is model


@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_a_classifier_decides_as_with_the_whole_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_decisions(family, "torch", tmp_path, monkeypatch)


@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_openvino_decides_as_with_the_whole_model(family: str, openvino: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_decisions(family, "openvino", tmp_path, monkeypatch)


def check_decisions(family: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_checkpoint(tmp_path / "model", family, num_labels=3)
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "backend": backend}
    ours = longctx.LongDocumentClassifier.from_pretrained(folder, **settings)
    monkeypatch.setattr(select, "first_token_model", lambda model, readout: model)
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))  # or the graph of the former would be read again
    whole = longctx.LongDocumentClassifier.from_pretrained(folder, **settings)
    np.testing.assert_allclose(ours.predict_proba(DOCUMENTS), whole.predict_proba(DOCUMENTS), atol=1e-5)


def test_a_module_that_only_has_the_configuration_of_a_known_model_stays_as_it_is():
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = model_of("Bert").config

    given = Own()
    assert first_token_model(given, LOGITS) is given
    assert first_token_model(given, FIRST) is given


def test_it_can_be_compiled_without_a_break():
    changed = twin(first_token_model(model_of("Bert"), LOGITS), ATTENTION_NAME)
    with torch.inference_mode():
        found = torch._dynamo.explain(changed)(input_ids=some_ids(3, 13))
    assert found.graph_break_count == 0
