"""Zero-shot by entailment and by similarity, on tiny random checkpoints: the arithmetic, not the sense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import longctx
from longctx import chunk_and_classify
from models import DOCUMENTS, MAX_TOKENS, save_checkpoint, softmax

LABELS = ["fox", "a much longer label about numbers and signs"]
NLI_NAMES = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}


@pytest.fixture(scope="module", params=["Bert", "Roberta"])
def nli(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    label2id = {name: i for i, name in NLI_NAMES.items()}
    positions = 64 + (2 if request.param == "Roberta" else 0)
    folder = tmp_path_factory.mktemp(request.param)
    return save_checkpoint(folder, request.param, id2label=NLI_NAMES, label2id=label2id, max_position_embeddings=positions)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("encoder"), head="Model", max_position_embeddings=64)


def _entailment_logit(folder: Path, premise: str, hypothesis: str) -> float:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(premise, hypothesis, return_tensors="pt")
    with torch.inference_mode():
        return float(model(**inputs).logits[0, 2])


def test_nli_is_softmax_over_the_labels_entailment_logits(nli: Path):
    prediction = chunk_and_classify("short", nli, LABELS, tokenizer=_long(nli), device="cpu")[0]
    logits = np.array([_entailment_logit(nli, "short", f"This text is about {label}.") for label in LABELS])
    assert list(prediction.probabilities.values()) == pytest.approx(softmax(logits).tolist(), abs=1e-5)


def test_nli_reads_the_same_windows_for_every_label(nli: Path):
    classifier = longctx.LongDocumentClassifier.from_pretrained(nli, LABELS, tokenizer=_long(nli), device="cpu")
    task = classifier._task
    assert len(task.questions) == len(LABELS)
    assert max(task.full_lengths) == 64
    assert task.chunker.max_tokens in task.full_lengths
    prediction = classifier(DOCUMENTS[0])[0]
    assert prediction.coverage.complete
    assert len(prediction.chunks) > 1


def test_nli_result_is_the_same_alone_and_in_a_batch(nli: Path):
    classifier = longctx.LongDocumentClassifier.from_pretrained(nli, LABELS, tokenizer=_long(nli), token_budget=130, device="cpu")
    together = classifier.predict_proba(DOCUMENTS)
    alone = np.concatenate([classifier.predict_proba(document) for document in DOCUMENTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def _long(folder: Path) -> transformers.PreTrainedTokenizerFast:
    """The tokenizer without its own, shorter limit."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 64
    return tokenizer


def test_similarity_is_the_cosine_of_mean_pooled_states(encoder: Path):
    model = transformers.AutoModel.from_pretrained(encoder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)

    def embed(text: str) -> np.ndarray:
        with torch.inference_mode():
            state = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).double().numpy()
        return state / np.linalg.norm(state)

    prediction = chunk_and_classify("short", encoder, {"a": "the fox", "b": "numbers"}, device="cpu")[0]
    similarities = np.array([embed("short") @ embed(text) for text in ("the fox", "numbers")])
    assert list(prediction.probabilities.values()) == pytest.approx(softmax(20 * similarities).tolist(), abs=1e-4)


def test_an_empty_document_gets_equal_probabilities_where_similarity_decides(encoder: Path):
    prediction = chunk_and_classify("", encoder, LABELS, device="cpu")[0]
    assert list(prediction.probabilities.values()) == pytest.approx([0.5, 0.5])
    assert prediction.coverage.reason == "empty document"


@pytest.mark.parametrize("aggregate", ["auto", "mean", "max", "evidence"])
def test_similarity_does_not_depend_on_the_batch(encoder: Path, aggregate: str):
    classifier = longctx.LongDocumentClassifier.from_pretrained(encoder, LABELS, aggregate, token_budget=100, device="cpu")
    together = classifier.predict_proba(DOCUMENTS)
    alone = np.concatenate([classifier.predict_proba(document) for document in DOCUMENTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_label_longer_than_a_row_is_read_to_its_end(encoder: Path):
    ending = [
        chunk_and_classify(DOCUMENTS[0], encoder, {"a": "the fox " * 40 + end, "b": "dog"}, device="cpu")[0] for end in ("", "numbers")
    ]
    assert ending[0].probabilities != ending[1].probabilities


def test_row_length_defaults_to_what_the_model_allows(encoder: Path):
    classifier = longctx.LongDocumentClassifier.from_pretrained(encoder, LABELS, device="cpu")
    assert classifier._task.chunker.max_tokens == MAX_TOKENS
    assert classifier._task.chunker.overlap_tokens == MAX_TOKENS // 8


@pytest.mark.parametrize("config", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}])
def test_an_encoder_pools_as_its_sentence_transformers_configuration_says(tmp_path: Path, config: dict[str, object]):
    folder = save_checkpoint(tmp_path, head="Model")
    mean = chunk_and_classify("the fox", folder, LABELS, device="cpu")[0]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert chunk_and_classify("the fox", folder, LABELS, device="cpu")[0] != mean
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(longctx.ModelError, match="max_tokens"):
        chunk_and_classify("the fox", folder, LABELS, device="cpu")
