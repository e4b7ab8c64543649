"""One call from documents to decisions: every kind of head, input and evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers

import longctx
from longctx import LongDocumentClassifier, chunk_and_classify
from models import DOCUMENTS, MAX_TOKENS, naive_rows, naive_values, save_checkpoint, softmax


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {0: "sport", 1: "law", 2: "art"}
    return save_checkpoint(tmp_path_factory.mktemp("bert"), id2label=names, label2id={name: i for i, name in names.items()})


@pytest.fixture(scope="module")
def classifier(folder: Path) -> LongDocumentClassifier:
    return LongDocumentClassifier.from_pretrained(folder, device="cpu")


def test_a_prediction_names_the_most_probable_label_with_its_probability(classifier: LongDocumentClassifier):
    prediction = classifier(DOCUMENTS[0])[0]
    assert list(prediction.probabilities) == ["sport", "law", "art"] == list(classifier.labels)
    assert prediction.label == max(prediction.probabilities, key=lambda name: prediction.probabilities[name])
    assert prediction.score == prediction.probabilities[prediction.label]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_evidence_cites_the_document_and_weights_are_shares_of_fresh_tokens(classifier: LongDocumentClassifier):
    for document, prediction in zip(DOCUMENTS, classifier(DOCUMENTS), strict=True):
        assert all(chunk.text == document[slice(*chunk.char_span)] for chunk in prediction.chunks)
        ends = [0, *(chunk.token_span[1] for chunk in prediction.chunks)]
        assert [c.weight for c in prediction.chunks] == pytest.approx(np.diff(ends) / ends[-1], abs=1e-6)
        assert prediction.coverage.complete
        assert prediction.coverage.chunks_read == len(prediction.chunks)


def test_a_chunk_score_is_its_own_probability_of_the_predicted_label(classifier: LongDocumentClassifier):
    prediction = classifier(DOCUMENTS[0])[0]
    for chunk in prediction.chunks:
        alone = classifier(chunk.text)[0]
        assert chunk.score == pytest.approx(alone.probabilities[prediction.label], abs=1e-5)
    assert prediction.decisive == max(prediction.chunks, key=lambda chunk: chunk.weight * chunk.score)


def test_max_takes_each_labels_strongest_chunk(folder: Path):
    rows = naive_rows(folder, DOCUMENTS[0], max_tokens=MAX_TOKENS, overlap_tokens=4)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = np.stack([model(input_ids=torch.tensor([ids])).logits[0].double().numpy() for ids, _ in rows])
    prediction = chunk_and_classify(DOCUMENTS[0], folder, aggregate="max", device="cpu")[0]
    assert list(prediction.probabilities.values()) == pytest.approx(softmax(logits.max(axis=0)).tolist(), abs=1e-5)
    assert sorted({chunk.weight for chunk in prediction.chunks}) == [0, 1]


@pytest.mark.parametrize("aggregate", ["mean", "max", "evidence"])
def test_explain_gives_the_exact_drop_when_a_chunk_is_left_out(folder: Path, aggregate: str):
    plain = chunk_and_classify(DOCUMENTS[0], folder, aggregate=aggregate, device="cpu")[0]
    explained = chunk_and_classify(DOCUMENTS[0], folder, aggregate=aggregate, explain=True, device="cpu")[0]
    assert explained.probabilities == plain.probabilities
    if aggregate == "mean":
        rows = naive_rows(folder, DOCUMENTS[0], max_tokens=MAX_TOKENS, overlap_tokens=4)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.inference_mode():
            logits = np.stack([model(input_ids=torch.tensor([ids])).logits[0].double().numpy() for ids, _ in rows])
        fresh = np.array([fresh for _, fresh in rows], float)
        column = list(plain.probabilities).index(plain.label)
        for i, chunk in enumerate(explained.chunks):
            rest = np.average(np.delete(logits, i, 0), axis=0, weights=np.delete(fresh, i))
            assert chunk.score == pytest.approx(plain.score - softmax(rest)[column], abs=1e-5)


def test_the_only_chunk_of_a_document_explains_all_of_it(folder: Path):
    prediction = chunk_and_classify("short", folder, explain=True, device="cpu")[0]
    assert prediction.chunks[0].score == pytest.approx(prediction.score)


def test_multi_label_names_every_label_from_one_half(tmp_path: Path):
    folder = save_checkpoint(tmp_path, num_labels=4, problem_type="multi_label_classification")
    predictions = chunk_and_classify(DOCUMENTS, folder, device="cpu")
    for document, prediction in zip(DOCUMENTS, predictions, strict=True):
        values = naive_values(folder, document, max_tokens=MAX_TOKENS, overlap_tokens=4)
        assert list(prediction.probabilities.values()) == pytest.approx((1 / (1 + np.exp(-values))).tolist(), abs=1e-5)
        assert prediction.label == [name for name, p in prediction.probabilities.items() if p >= 0.5]
        assert prediction.score == max(prediction.probabilities.values())


def test_regression_gives_the_value(tmp_path: Path):
    folder = save_checkpoint(tmp_path, num_labels=1)
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    for document, value in zip(DOCUMENTS, classifier.predict(DOCUMENTS), strict=True):
        assert isinstance(value, float)
        assert value == pytest.approx(naive_values(folder, document, max_tokens=MAX_TOKENS, overlap_tokens=4)[0], abs=1e-5)
    assert classifier("a")[0].probabilities == {}
    with pytest.raises(longctx.ModelError, match="regression"):
        classifier.predict_proba(DOCUMENTS)


def test_regression_with_several_outputs_gives_a_list(tmp_path: Path):
    folder = save_checkpoint(tmp_path, num_labels=2, problem_type="regression")
    prediction = chunk_and_classify(DOCUMENTS[0], folder, device="cpu")[0]
    assert prediction.label == pytest.approx(naive_values(folder, DOCUMENTS[0], max_tokens=MAX_TOKENS, overlap_tokens=4).tolist(), abs=1e-5)


def test_an_empty_document_has_an_answer_and_says_that_it_is_empty(classifier: LongDocumentClassifier, folder: Path):
    empty, other = classifier(["", DOCUMENTS[0]])
    assert empty.coverage.reason == "empty document"
    assert empty.chunks[0].text == ""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)("")["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().numpy()
    assert list(empty.probabilities.values()) == pytest.approx(softmax(logits).tolist(), abs=1e-5)
    assert other.probabilities == pytest.approx(classifier(DOCUMENTS[0])[0].probabilities, abs=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        tuple,
        iter,
        lambda texts: (text for text in texts),
        lambda texts: [text.encode() for text in texts],
        pa.array,
        lambda texts: pa.array(texts).cast(pa.large_string()),
        lambda texts: pa.chunked_array([texts[:2], texts[2:]]),
        lambda texts: list(pa.array(texts)),
        lambda texts: np.array(texts, dtype=object),
    ],
)
def test_documents_may_come_in_any_container(classifier: LongDocumentClassifier, wrap: Callable[[list[str]], object]):
    assert [p.label for p in classifier(wrap(DOCUMENTS))] == classifier.predict(DOCUMENTS)


def test_pandas_and_polars_columns_are_documents(classifier: LongDocumentClassifier):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = classifier.predict(DOCUMENTS)
    assert classifier.predict(pandas.Series(DOCUMENTS)) == expected
    assert classifier.predict(polars.Series(DOCUMENTS)) == expected


def test_evidence_of_bytes_is_text(classifier: LongDocumentClassifier):
    document = "Naïve Gäste im Café. " * 20
    chunks = classifier([document.encode()])[0].chunks
    assert [chunk.text for chunk in chunks] == [document[slice(*chunk.char_span)] for chunk in chunks]


def test_no_documents_give_no_predictions(classifier: LongDocumentClassifier):
    assert len(classifier([])) == 0
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier([]).to_arrow().num_rows == 0


def test_a_document_may_span_many_batches(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, token_budget=MAX_TOKENS, device="cpu")
    documents = ["a", DOCUMENTS[0] * 20, "b"]
    predictions = classifier(documents)
    assert len(predictions[1].chunks) > 16 * 3
    expected = naive_values(folder, documents[1], max_tokens=MAX_TOKENS, overlap_tokens=4)
    assert list(predictions[1].probabilities.values()) == pytest.approx(softmax(expected).tolist(), abs=1e-5)


def test_stream_does_not_read_the_whole_source_first(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, token_budget=MAX_TOKENS, device="cpu")
    n_read = 0

    def source() -> Iterator[str]:
        nonlocal n_read
        for document in DOCUMENTS * 40:
            n_read += 1
            yield document

    next(classifier.stream(source()))
    assert n_read <= 64


def test_unread_chunks_are_named_in_the_coverage(folder: Path):
    prediction = chunk_and_classify(DOCUMENTS[0], folder, select="head", max_chunks=2, device="cpu")[0]
    assert len(prediction.chunks) == 2
    assert prediction.coverage.tokens_unread > 0
    assert "head" in prediction.coverage.reason


SAME_BITS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "deterministic": True}


def test_every_way_to_name_a_model_gives_the_same_result(folder: Path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipeline = SimpleNamespace(task="text-classification", model=model, tokenizer=tokenizer)
    expected = chunk_and_classify(DOCUMENTS, folder, **SAME_BITS)
    for given in (str(folder), model, (model, tokenizer), pipeline):
        assert chunk_and_classify(DOCUMENTS, given, **SAME_BITS) == expected


def test_a_transformers_pipeline_is_a_model(folder: Path):
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    assert chunk_and_classify(DOCUMENTS, pipeline, **SAME_BITS) == chunk_and_classify(DOCUMENTS, folder, **SAME_BITS)


def test_bfloat16_is_close_to_float32(folder: Path, classifier: LongDocumentClassifier):
    half = LongDocumentClassifier.from_pretrained(folder, dtype="bfloat16", device="cpu")
    np.testing.assert_allclose(half.predict_proba(DOCUMENTS), classifier.predict_proba(DOCUMENTS), atol=0.1)


def test_predictions_are_plain_values_for_json(classifier: LongDocumentClassifier):
    for prediction in classifier(DOCUMENTS):
        assert json.loads(json.dumps(prediction.to_dict()))["label"] == prediction.label


def test_repr_is_one_line_that_says_what_runs(classifier: LongDocumentClassifier):
    assert "\n" not in repr(classifier)
    assert "3 labels" in repr(classifier)


def test_progress_is_silent_when_nobody_looks(classifier: LongDocumentClassifier, folder: Path, capfd: pytest.CaptureFixture[str]):
    chunk_and_classify(DOCUMENTS, folder, device="cpu")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_progress_when_asked_for_goes_to_stderr(folder: Path, capfd: pytest.CaptureFixture[str]):
    chunk_and_classify(DOCUMENTS, folder, progress=True, device="cpu")
    out, err = capfd.readouterr()
    assert out == ""
    assert "5/5" in err
