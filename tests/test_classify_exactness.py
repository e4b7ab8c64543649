"""A document's result is that of a plain transformers loop, alone and in any company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import longctx
from models import DOCUMENTS, FAMILIES, MAX_TOKENS, naive_values, save_checkpoint, softmax

OVERLAP = 5


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp(request.param), request.param, num_labels=3)


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> np.ndarray:
    values = [naive_values(checkpoint, document, max_tokens=MAX_TOKENS, overlap_tokens=OVERLAP) for document in DOCUMENTS]
    return softmax(np.stack(values))


@pytest.mark.parametrize("token_budget", [1, 100, "auto"])
def test_results_equal_a_naive_loop_for_any_token_budget(checkpoint: Path, expected: np.ndarray, token_budget: int | str):
    classifier = longctx.LongDocumentClassifier.from_pretrained(
        checkpoint, max_tokens=MAX_TOKENS, overlap_tokens=OVERLAP, token_budget=token_budget, device="cpu"
    )
    np.testing.assert_allclose(classifier.predict_proba(DOCUMENTS), expected, atol=1e-5)


def test_results_are_the_same_alone_and_in_any_order(checkpoint: Path, expected: np.ndarray):
    classifier = longctx.LongDocumentClassifier.from_pretrained(checkpoint, max_tokens=MAX_TOKENS, overlap_tokens=OVERLAP, device="cpu")
    alone = np.concatenate([classifier.predict_proba(document) for document in DOCUMENTS])
    backwards = classifier.predict_proba(DOCUMENTS[::-1])[::-1]
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    np.testing.assert_allclose(backwards, expected, atol=1e-5)


def test_the_model_is_given_token_types_only_if_it_takes_them(tmp_path: Path):
    distil = save_checkpoint(tmp_path / "model", "DistilBert", num_labels=2)
    save_checkpoint(tmp_path / "types", "Bert")
    tokenizer = str(tmp_path / "types")
    predictions = longctx.chunk_and_classify(DOCUMENTS, distil, tokenizer=tokenizer, device="cpu")
    assert len(predictions) == len(DOCUMENTS)


def test_roberta_like_models_read_two_tokens_less_than_their_position_table_holds(tmp_path: Path):
    folder = save_checkpoint(tmp_path, "Roberta", max_position_embeddings=20)
    predictions = longctx.chunk_and_classify(DOCUMENTS[0], folder, device="cpu")
    first, second = predictions[0].chunks[:2]
    assert first.token_span == (0, 16)
    assert second.token_span[0] == 14
    with pytest.raises(longctx.ConfigError, match="reads at most 18"):
        longctx.chunk_and_classify("a", folder, max_tokens=19)
