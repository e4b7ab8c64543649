"""On a CUDA device: the answers of the CPU, packed rows, a device whose memory really ends, exact gradients, training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA device", allow_module_level=True)

import longctx
from longctx import LongDocumentClassifier, LongDocumentModel
from longctx.inference.backends.base import LOGITS, Readout
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.loop import RowRunner
from longctx.inference.packing import PackedRows, pack_backend
from longctx.inference.transfer import PinnedTransfer
from longctx.learn.state_cache import frozen_documents
from longctx.nn.aggregators import AGGREGATORS
from models import DOCUMENTS, FAMILIES, save_checkpoint
from training import LABELS, TRAIN, gradients, maker

# Warnings of torch about itself: some models are still scripted, and float32 is not to be rounded.
pytestmark = [pytest.mark.filterwarnings("ignore:.*torch.jit.script"), pytest.mark.filterwarnings("ignore:TensorFloat32")]
CUDA = torch.device("cuda")
HALF = [torch.bfloat16, torch.float16]
PACKED = ["Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert"]
MANY = [f"{document} {number}" for number in range(60) for document in DOCUMENTS]


def probabilities(predictions: longctx.Predictions) -> np.ndarray:
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_float32_gives_the_answers_of_the_cpu(family: str, tmp_path: Path):
    folder = save_checkpoint(tmp_path, family, num_labels=3)
    ours, theirs = (longctx.chunk_and_classify(MANY, folder, device=device, dtype="float32") for device in ("cuda", "cpu"))
    assert [prediction.label for prediction in ours] == [prediction.label for prediction in theirs]
    np.testing.assert_allclose(probabilities(ours), probabilities(theirs), atol=1e-4)


@pytest.mark.parametrize("family", PACKED)
def test_auto_is_bfloat16_with_packed_tails_and_no_padding(family: str, tmp_path: Path):
    folder = save_checkpoint(tmp_path, family, num_labels=3)
    predictions = longctx.chunk_and_classify(MANY, folder)
    run = predictions.run
    assert run is not None
    assert run.device.startswith("cuda")
    assert run.packed_batches > 0
    assert run.padding_tokens == 0
    assert run.peak_device_bytes
    exact = longctx.chunk_and_classify(MANY, folder, device="cpu", dtype="float32")
    np.testing.assert_allclose(probabilities(predictions), probabilities(exact), atol=0.06)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", PACKED)
def test_packed_rows_have_the_values_of_single_rows(family: str, dtype: torch.dtype, tmp_path: Path):
    save_checkpoint(tmp_path, family, "Model")
    model = getattr(transformers, family + "Model").from_pretrained(tmp_path).eval().to(CUDA, dtype)
    backend = TorchBackend(model, Readout("embedding", "mean"), device=CUDA)
    packed = pack_backend(backend, 32)
    assert packed is not None
    lengths = [9, 1, 31, 2, 2, 17]
    rows = [torch.randint(0, backend.facts.n_known_ids or 1, (length,), dtype=torch.int32, device=CUDA) for length in lengths]
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=CUDA)
    together = packed.run(PackedRows(torch.cat(rows), None, starts, lengths)).float()
    alone = torch.cat([backend.run(row[None], None, None) for row in rows]).float()
    torch.testing.assert_close(together, alone, atol=0.06 * float(alone.abs().max()), rtol=0)


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_company_and_order_change_no_answer(folder: Path, is_deterministic: bool):
    documents = MANY[:60]
    classifier = LongDocumentClassifier.from_pretrained(folder, deterministic=is_deterministic, dtype="float32")
    together = classifier(documents)
    backwards = list(classifier(documents[::-1]))[::-1]
    alone = [classifier(document)[0] for document in documents]
    if is_deterministic:
        assert list(together) == backwards == alone
        return
    for others in (backwards, alone):
        assert [prediction.label for prediction in others] == [prediction.label for prediction in together]
        values = np.array([list(prediction.probabilities.values()) for prediction in others])
        np.testing.assert_allclose(values, probabilities(together), atol=1e-5)


def test_arrays_arrive_whole_while_the_device_is_busy():
    transfer = PinnedTransfer(CUDA, n_buffers=3)
    rng = np.random.default_rng(0)
    busy = torch.randn(2048, 2048, device=CUDA)
    arrays = [rng.integers(0, 1000, rng.integers(1, 50_000), dtype=np.int32) for _ in range(200)]
    sums = []
    for array in arrays:
        busy = torch.nn.functional.normalize(busy @ busy)
        sums.append(transfer.to_device(array).long().sum())
    assert [int(value) for value in sums] == [int(array.sum()) for array in arrays]


def test_a_device_whose_memory_ends_gets_smaller_batches_and_changes_no_answer(folder: Path):
    words, rng = " ".join(DOCUMENTS).split(), np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 300)) for _ in range(4000)]  # no two rows alike
    expected = longctx.chunk_and_classify(texts, folder, dtype="float32", token_budget=20_000)
    classifier = LongDocumentClassifier.from_pretrained(folder, dtype="float32", token_budget=2_000_000)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 96 * 2**20) / total)
    try:
        found = classifier(texts)
        runner: RowRunner = classifier._task.runner
        assert runner.token_budget < 2_000_000
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(probabilities(found), probabilities(expected), atol=1e-5)
    assert [prediction.label for prediction in found] == [prediction.label for prediction in expected]


def test_compiled_gives_the_answers_of_plain(folder: Path):
    words, rng = " ".join(DOCUMENTS).split(), np.random.default_rng(1)
    texts = [" ".join(rng.choice(words, 300)) for _ in range(20)]
    plain, compiled = (
        LongDocumentClassifier.from_pretrained(folder, token_budget=256, compile=is_compiled) for is_compiled in (False, True)
    )
    np.testing.assert_allclose(probabilities(compiled(texts)), probabilities(plain(texts)), atol=0.03)
    backend = compiled._task.runner.backend
    assert isinstance(backend, TorchBackend)
    assert backend.compiled is not None
    assert backend.compiled.shapes == {(8, 32)}


@pytest.mark.parametrize("aggregator", [name for name, cls in AGGREGATORS.items() if not cls.of_label_values])
def test_every_aggregator_decides_on_the_device_as_on_the_cpu(aggregator: str, folder: Path):
    model = LongDocumentModel.from_encoder(folder, labels=LABELS, aggregator=aggregator, max_tokens=16, overlap_tokens=3).eval()
    theirs = longctx.chunk_and_classify(DOCUMENTS, model, device="cpu", dtype="float32")
    ours = longctx.chunk_and_classify(DOCUMENTS, model, device="cuda", dtype="float32")
    np.testing.assert_allclose(probabilities(ours), probabilities(theirs), atol=1e-4)


@pytest.mark.parametrize("states", ["chunks", "tokens"])
def test_cached_gradients_equal_plain_ones_with_dropout_on(folder: Path, states: str):
    pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")
    model = maker(folder)(aggregator="attention", states=states).to(CUDA, torch.float64).train()
    told, plain = gradients(model, cached=False)
    again, cached = gradients(model, cached=True)
    assert again == pytest.approx(told, abs=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert float((cached[name] - gradient).abs().max()) <= 1e-6 * largest, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_frozen_states_are_those_of_the_cpu(dtype: str, folder: Path, tmp_path: Path):
    texts, truth = [text for text, _ in TRAIN], np.zeros(len(TRAIN), np.int64)
    model = maker(folder)().eval()
    theirs = np.concatenate(frozen_documents(model, texts, truth, folder=tmp_path / "cpu").states or ())
    ours = np.concatenate(frozen_documents(model.to(CUDA), texts, truth, folder=tmp_path / "cuda", dtype=dtype).states or ())
    difference = float(np.abs(ours - theirs).max()) / float(np.abs(theirs).max())
    if dtype == "float32":
        assert difference < 1e-4
    else:
        assert 1e-4 < difference < 0.06  # rounded, so it was really computed in less


@pytest.mark.parametrize("freeze", [False, True])
def test_a_model_trained_on_the_device_is_saved_and_answers_alike(freeze: bool, folder: Path, tmp_path: Path):
    pytest.importorskip("accelerate", reason="needs the extra: pip install 'longctx[train]'")
    from longctx import Trainer

    model = maker(folder)()
    settings = {"num_train_epochs": 12, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "save_strategy": "no", "report_to": "none"}
    arguments = transformers.TrainingArguments(str(tmp_path / "run"), disable_tqdm=True, bf16=not freeze, **settings)
    trainer = Trainer(
        model, arguments, train=TRAIN, freeze_encoder=freeze, gradient_cache=not freeze, state_cache=tmp_path / "states", token_budget=64
    )
    before = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    trainer.train()
    assert model.device.type == "cuda"
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] < before
    model.save_pretrained(tmp_path / "saved")
    texts = [text for text, _ in TRAIN]
    in_memory = longctx.chunk_and_classify(texts, model, dtype="float32")
    for device in ("cuda", "cpu"):
        saved = longctx.chunk_and_classify(texts, str(tmp_path / "saved"), device=device, dtype="float32")
        np.testing.assert_allclose(probabilities(saved), probabilities(in_memory), atol=1e-4)


def test_logits_are_read_on_the_device(folder: Path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval().to(CUDA)
    runner = RowRunner(TorchBackend(model, LOGITS, device=CUDA), token_budget=64)
    batch = longctx.Chunker(folder, max_tokens=16, overlap_tokens=3)(DOCUMENTS)
    with torch.inference_mode():
        expected = [
            model(input_ids=torch.from_numpy(batch.input_ids[i : i + 1, :n]).long().to(CUDA)).logits[0].cpu().numpy()
            for i, n in enumerate(batch.lengths)
        ]
    np.testing.assert_allclose(runner.run(batch), np.stack(expected), atol=1e-4)
