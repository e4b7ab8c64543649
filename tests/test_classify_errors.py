"""Every mistake gets the right exception, and a message that says what was given and what to do."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import longctx
from longctx import ConfigError, LongDocumentClassifier, ModelError, ModelLoadError, chunk_and_classify
from models import DOCUMENTS, OutOfMemoryAbove, OutOfMemoryAtRandom, save_checkpoint, wrap_forward


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("head"), num_labels=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregate": "median"}, "aggregate='median'.*'mean'"),
        ({"max_tokens": 2}, "max_tokens=2"),
        ({"max_tokens": 33}, "reads at most 32"),
        ({"max_tokens": "12"}, "max_tokens='12'"),
        ({"overlap_tokens": 30}, "overlap_tokens=30"),
        ({"overlap_tokens": -1}, "overlap_tokens=-1"),
        ({"device": "quantum"}, "device='quantum'"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
        ({"device": "meta"}, "device='meta' cannot be used here"),
        ({"device": "xpu:99"}, "device='xpu:99' cannot be used here"),
        ({"dtype": "int3"}, "dtype='int3'"),
        ({"token_budget": 0}, "token_budget=0"),
        ({"token_budget": "big"}, "token_budget='big'"),
        ({"progress": "maybe"}, "progress='maybe'"),
        ({"stride": 3}, "'stride'.*boundary"),
        ({"boundary": "page"}, "page"),
        ({"deterministic": True, "compile": True}, "compile=True"),
    ],
)
def test_options_that_are_not_allowed_are_refused(folder: Path, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        chunk_and_classify("a", folder, **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("law", "is of type str"),
        (3, "is of type int"),
        ({"law", "art"}, "is of type set"),
        (["law", "art\ud800"], "UTF-8 can hold"),
        ([], "at least two"),
        (["law"], "at least two"),
        (["law", "art", "law"], "repeats 'law'"),
        (["law", " "], "blank"),
        (["law", 3], "holds 3"),
        ({"law": "legal text", "art": ""}, "blank"),
    ],
)
def test_labels_that_make_no_choice_are_refused(encoder: Path, labels: object, message: str):
    with pytest.raises(ConfigError, match=message):
        chunk_and_classify("a", encoder, labels)


@pytest.mark.parametrize("template", ["This is it.", "{} and {}", 5])
def test_a_template_without_one_place_for_the_label_is_refused(encoder: Path, template: object):
    with pytest.raises(ConfigError, match="hypothesis_template"):
        chunk_and_classify("a", encoder, ["law", "art"], hypothesis_template=template)


def test_labels_for_a_trained_head_are_refused(folder: Path):
    with pytest.raises(ModelError, match="own labels"):
        chunk_and_classify("a", folder, ["law", "art"])


def test_an_encoder_without_labels_is_refused(encoder: Path):
    with pytest.raises(ModelError, match=r"no classification head.*labels="):
        chunk_and_classify("a", encoder)


def test_an_nli_checkpoint_without_labels_is_refused(tmp_path: Path):
    names = {0: "entailment", 1: "not_entailment"}
    nli = save_checkpoint(tmp_path, id2label=names, label2id={name: i for i, name in names.items()})
    with pytest.raises(ModelError, match=r"NLI.*labels="):
        chunk_and_classify("a", nli)


def test_no_model_without_the_packaged_encoder_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longctx.minilm.MINILM_PACKAGE", "no_such_package")
    with pytest.raises(longctx.MissingDependencyError, match=r"pip install longctx\[minilm\]"):
        chunk_and_classify("a", labels=["law", "art"])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ModelLoadError, match=r"nowhere.*no such folder"):
        chunk_and_classify("a", tmp_path / "nowhere")


def test_a_folder_without_a_config_is_named(tmp_path: Path):
    with pytest.raises(ModelLoadError, match=r"config.json"):
        chunk_and_classify("a", tmp_path)


def test_a_checkpoint_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelLoadError, match=r"No tokenizer.*tokenizer="):
        chunk_and_classify("a", tmp_path)


def test_a_loaded_model_without_a_tokenizer_is_refused():
    config = transformers.BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    with pytest.raises(ModelLoadError, match=r"tokenizer="):
        chunk_and_classify("a", transformers.BertForSequenceClassification(config))


DAMAGED = {
    "weights that are empty": ("model.safetensors", b""),
    "weights that are cut short": ("model.safetensors", (2**20).to_bytes(8, "little") + b"{"),
    "weights of something else": ("model.safetensors", b"x" * 1000),
    "a config that is empty": ("config.json", b""),
    "a config that is null": ("config.json", b"null"),
    "a config that is a list": ("config.json", b"[]"),
    "a config of a wrong kind": ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
    "a config of nothing": ("config.json", b'{"model_type": "bert", "hidden_size": 0}'),
    "a tokenizer that is empty": ("tokenizer.json", b""),
    "a tokenizer of something else": ("tokenizer.json", b"[]"),
    "a tokenizer config that is a list": ("tokenizer_config.json", b"[]"),
}


def test_a_limit_of_the_wrong_kind_is_refused(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": "x"}))
    with pytest.raises(longctx.LongctxError, match="model_max_length='x'"):
        chunk_and_classify("a", tmp_path)


@pytest.mark.parametrize("kind", sorted(DAMAGED))
def test_damaged_files_are_a_model_load_error_that_names_the_folder(kind: str, folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    name, content = DAMAGED[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError) as caught:
        chunk_and_classify("a", tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", ["{", "[]", '{"pooling_mode": {}}', '{"pooling_mode": [["mean"]]}', '{"pooling_mode": "max"}'])
def test_a_pooling_that_cannot_be_followed_is_refused(encoder: Path, tmp_path: Path, content: str):
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises((ModelLoadError, ModelError), match=tmp_path.name):
        chunk_and_classify("a", tmp_path, ["law", "art"])


@pytest.mark.parametrize("name", ["", " ", "x" * 5000], ids=["empty", "blank", "long"])
def test_a_name_that_can_be_no_model_is_refused(name: str):
    with pytest.raises(ModelLoadError, match="model="):
        chunk_and_classify("a", name)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path):
    twice = save_checkpoint(tmp_path, id2label={0: "law", 1: "art", 2: "law"}, label2id={"law": 0, "art": 1})
    with pytest.raises(ModelError, match="'law' to several outputs"):
        chunk_and_classify("a", twice)


def test_pickle_weights_are_refused_and_never_opened(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(ModelLoadError, match="safetensors"):
        chunk_and_classify("a", tmp_path)


def test_code_from_a_checkpoint_is_never_run(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own-thing", "auto_map": {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('code from the checkpoint was run')")
    with pytest.raises(ModelLoadError, match="never run"):
        chunk_and_classify("a", tmp_path)
    assert "own" not in sys.modules


def test_weights_without_the_head_they_claim_are_refused(encoder: Path, tmp_path: Path):
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((encoder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(ModelLoadError, match="classifier"):
        chunk_and_classify("a", tmp_path)


def test_something_that_is_no_model_is_refused():
    with pytest.raises(ModelError, match="dict object"):
        chunk_and_classify("a", {"model": 1})


@pytest.mark.parametrize(
    ("documents", "error"), [([3], longctx.DocumentTypeError), (["a", None], longctx.LongctxError), (7, longctx.DocumentTypeError)]
)
def test_something_that_is_no_text_is_refused(folder: Path, documents: object, error: type[Exception]):
    with pytest.raises(error):
        chunk_and_classify(documents, folder)


def test_bytes_that_are_no_utf8_name_their_document(folder: Path):
    with pytest.raises(longctx.DocumentError, match="1"):
        chunk_and_classify([b"fine", b"\xff\xfe\xfa"], folder)


def test_a_tokenizer_of_another_model_is_found_before_it_does_harm(folder: Path, tmp_path: Path):
    tokenizer = save_checkpoint(tmp_path, "Bert")
    small = transformers.BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    with pytest.raises(ModelError, match="knows 9 ids"):
        chunk_and_classify("the fox", transformers.BertForSequenceClassification(small), tokenizer=str(tokenizer))


def test_nan_names_the_document(folder: Path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[tokenizer.backend_tokenizer.encode("fox", add_special_tokens=False).ids] = torch.nan
    with pytest.raises(ModelError, match="document 2 "):
        chunk_and_classify(["dog", "lazy dog", "the fox"], (model, tokenizer), device="cpu")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_budget_stays_there_and_changes_no_result(folder: Path, error: Exception):
    expected = LongDocumentClassifier.from_pretrained(folder, device="cpu").predict_proba(DOCUMENTS)
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    limited = wrap_forward(classifier, lambda forward: OutOfMemoryAbove(forward, 70, error))
    np.testing.assert_allclose(classifier.predict_proba(DOCUMENTS), expected, atol=1e-5)
    n_errors = sum(one.n_errors for one in limited)
    assert 0 < n_errors <= 12
    np.testing.assert_allclose(classifier.predict_proba(DOCUMENTS), expected, atol=1e-5)
    assert sum(one.n_errors for one in limited) == n_errors


def test_out_of_memory_at_random_batches_changes_no_result(folder: Path):
    expected = LongDocumentClassifier.from_pretrained(folder, device="cpu").predict_proba(DOCUMENTS * 4)
    for seed in range(5):
        classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu", token_budget=512)
        wrap_forward(classifier, partial(OutOfMemoryAtRandom, seed=seed))
        np.testing.assert_allclose(classifier.predict_proba(DOCUMENTS * 4), expected, atol=1e-5)


def test_a_single_row_that_does_not_fit_is_an_error(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    wrap_forward(classifier, lambda forward: OutOfMemoryAbove(forward, 10, torch.OutOfMemoryError()))
    with pytest.raises(ModelError, match="single row of"):
        classifier(DOCUMENTS)


def test_other_errors_of_a_model_are_not_taken_for_lack_of_memory(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    wrap_forward(classifier, lambda forward: OutOfMemoryAbove(forward, 10, RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        classifier(DOCUMENTS)
