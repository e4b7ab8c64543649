"""``LongDocumentModel``: any encoder, the same answer alone and in any company, saved and loaded as one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

import longctx
from longctx import LongDocumentModel
from longctx.errors import ConfigError, ModelError, ModelLoadError, TokenizerError
from longctx.inference.backends.base import read_facts
from longctx.learn.encoded import encode_documents
from longctx.nn.aggregators import AGGREGATORS, LearnedAggregator
from longctx.nn.encoders import is_causal
from models import DOCUMENTS, FAMILIES, MAX_TOKENS, save_checkpoint, save_tokenizer

LABELS = ["a", "b", "c"]
USABLE = [name for name, cls in AGGREGATORS.items() if not cls.of_label_values]
READ = [
    (name, states)
    for name in USABLE
    for states in ("chunks", "tokens")
    if states == "chunks" or issubclass(AGGREGATORS[name], LearnedAggregator)
]
"""Aggregators with the states they read; the mean and the maximum of tokens are refused, which another test holds them to."""
LONG_DOCUMENT = DOCUMENTS[0] * 40

Make = Callable[..., LongDocumentModel]


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders with encoders, by family, each made once."""
    made: dict[str, Path] = {}

    def encoder(family: str) -> Path:
        if family not in made:
            made[family] = save_checkpoint(tmp_path_factory.mktemp(family), family, head="Model")
        return made[family]

    return encoder


@pytest.fixture
def make(encoders: Callable[[str], Path]) -> Make:
    def model(family: str = "Bert", **options: Any) -> LongDocumentModel:
        settings = {"labels": LABELS, "max_tokens": 16, "overlap_tokens": 3, **options}
        made = LongDocumentModel.from_encoder(encoders(family), **settings)
        torch.nn.init.normal_(made.head.bias)
        return made.eval()

    return model


def values(model: LongDocumentModel, texts: list[str], **options: Any) -> torch.Tensor:
    documents = encode_documents(texts, np.zeros(len(texts)), model.chunker(), takes_types=read_facts(model.encoder).takes_types)
    with torch.inference_mode():
        result: torch.Tensor = model(documents.batch(range(len(texts)))["documents"], **options)
    return result


def probabilities(model: Any, texts: list[str], **options: Any) -> NDArray[np.float32]:
    classifier = longctx.LongDocumentClassifier.from_pretrained(model, **{"dtype": "float32", **options})
    return classifier.predict_proba(texts)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_and_inference_read_the_same_values_from_any_encoder(make: Make, family: str):
    model = make(family)
    trained = values(model, DOCUMENTS).softmax(dim=-1).numpy()
    np.testing.assert_allclose(probabilities(model, DOCUMENTS), trained, atol=2e-5)


@pytest.mark.parametrize("aggregator", ["mean_max", "attention", "lstm", "transformer", "label_attention"])
def test_a_decoder_over_all_token_states_decides_alike_in_training_and_inference(make: Make, aggregator: str):
    model = make(aggregator=aggregator, states="tokens")
    trained = values(model, DOCUMENTS).softmax(dim=-1).numpy()
    np.testing.assert_allclose(probabilities(model, DOCUMENTS), trained, atol=2e-5)
    prediction = longctx.chunk_and_classify(DOCUMENTS[:1], model, explain=True)[0]
    assert sum(chunk.weight for chunk in prediction.chunks) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ConfigError, match="torch"):
        longctx.chunk_and_classify(DOCUMENTS[:1], model, dtype="int8", backend="openvino")


@pytest.mark.parametrize(("aggregator", "states"), READ)
def test_a_document_alone_beside_one_forty_times_longer_and_in_another_order_has_one_answer(make: Make, aggregator: str, states: str):
    model = make(aggregator=aggregator, states=states)
    together = values(model, [DOCUMENTS[0], LONG_DOCUMENT, *DOCUMENTS[1:]])
    reversed_order = values(model, [*DOCUMENTS[:0:-1], LONG_DOCUMENT, DOCUMENTS[0]])
    torch.testing.assert_close(reversed_order, together.flip(0)[[0, 1, 2, 3, 4, 5]], atol=1e-5, rtol=1e-5)
    for place, text in ((0, DOCUMENTS[0]), (1, LONG_DOCUMENT), (2, DOCUMENTS[1])):
        torch.testing.assert_close(values(model, [text]), together[place : place + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("token_budget", [1, 40, 10_000])
def test_how_many_rows_go_through_the_encoder_together_changes_nothing(make: Make, token_budget: int):
    model = make()
    torch.testing.assert_close(values(model, DOCUMENTS, token_budget=token_budget), values(model, DOCUMENTS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["Bert", "GPT2", "XLNet"])
@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_a_saved_model_decides_the_same_with_nothing_else_said(make: Make, tmp_path: Path, family: str, problem: str):
    model = make(family, problem=problem, aggregator="label_attention", boundary="word")
    model.save_pretrained(tmp_path / "out")
    before = longctx.chunk_and_classify(DOCUMENTS, model, dtype="float32", deterministic=True)
    after = longctx.chunk_and_classify(DOCUMENTS, str(tmp_path / "out"), dtype="float32", deterministic=True)
    assert list(after) == list(before)
    assert [len(prediction.chunks) for prediction in after] == [len(prediction.chunks) for prediction in before]
    loaded = LongDocumentModel.from_pretrained(tmp_path / "out")
    assert loaded.config == model.config
    assert torch.equal(values(loaded, DOCUMENTS), values(model, DOCUMENTS))


def test_a_saved_folder_holds_safetensors_a_tokenizer_and_a_model_card(make: Make, tmp_path: Path):
    make().save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "longctx"
    assert "`a`, `b`, `c`" in (tmp_path / "README.md").read_text()


def test_a_tokenizer_of_tokenizers_is_saved_with_its_padding(encoders: Callable[[str], Path], tmp_path: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoders("Roberta")).backend_tokenizer
    model = LongDocumentModel.from_encoder(encoders("Roberta"), labels=LABELS, tokenizer=tokenizer, max_tokens=16).eval()
    model.save_pretrained(tmp_path)
    assert longctx.Chunker(str(tmp_path)).pad_id == model.chunker().pad_id
    np.testing.assert_allclose(probabilities(str(tmp_path), DOCUMENTS), probabilities(model, DOCUMENTS), atol=1e-6)


def test_a_tokenizer_with_a_broken_vocabulary_is_told_before_it_is_saved(encoders: Callable[[str], Path], tmp_path: Path):
    definition = (encoders("Bert") / "tokenizer.json").read_text("utf-8")
    (tmp_path / "tokenizer.json").write_text(definition[: definition.rindex(":")], "utf-8")
    model = LongDocumentModel.from_encoder(encoders("Bert"), labels=LABELS, tokenizer=str(tmp_path), max_tokens=16)
    with pytest.raises(TokenizerError, match="cannot be read"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").exists()


def test_chunks_say_what_they_would_alone_and_leaving_one_out_is_exact(make: Make):
    model = make(aggregator="transformer")
    prediction = longctx.chunk_and_classify(DOCUMENTS[:1], model, dtype="float32")[0]
    told = longctx.chunk_and_classify(DOCUMENTS[:1], model, dtype="float32", explain=True)[0]
    label = list(prediction.probabilities).index(str(prediction.label))
    assert len(prediction.chunks) > 3
    assert sum(chunk.weight for chunk in prediction.chunks) == pytest.approx(1, abs=1e-5)
    states, mask = _states(model, DOCUMENTS[0])
    alone = model.values(states.transpose(0, 1), torch.ones(states.shape[1], 1, dtype=torch.bool), None).softmax(-1)[:, label]
    np.testing.assert_allclose([chunk.score for chunk in prediction.chunks], alone.detach().numpy(), atol=1e-5)
    mask[0, 1] = False
    without = model.values(states, mask, None).softmax(-1)[0, label].detach()
    assert told.chunks[1].score == pytest.approx(prediction.score - float(without), abs=1e-5)


def _states(model: LongDocumentModel, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    documents = encode_documents([text], np.zeros(1), model.chunker(), takes_types=True).batch([0])["documents"]
    with torch.inference_mode():
        states = model.encode(documents).unsqueeze(0)
    return states, torch.ones(states.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("family", ["GPT2", "Bert", "XLNet", "DebertaV2"])
def test_a_decoder_is_told_from_an_encoder_and_read_by_its_last_token(make: Make, family: str):
    model = make(family)
    assert is_causal(model.encoder) == (family == "GPT2")
    assert model.config.pooling == ("last" if family == "GPT2" else "mean")


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "ModernBert", "GPT2", "XLNet"])
def test_upper_layers_are_taken_off_and_stay_off(make: Make, tmp_path: Path, family: str):
    whole, lower = make(family), make(family, encoder_layers=1)
    assert sum(weight.numel() for weight in lower.encoder.parameters()) < sum(weight.numel() for weight in whole.encoder.parameters())
    lower.save_pretrained(tmp_path)
    loaded = LongDocumentModel.from_pretrained(tmp_path)
    assert torch.equal(values(loaded, DOCUMENTS), values(lower, DOCUMENTS))
    np.testing.assert_allclose(probabilities(str(tmp_path), DOCUMENTS), values(lower, DOCUMENTS).softmax(-1).numpy(), atol=2e-5)


def test_a_loaded_encoder_keeps_its_layers_when_a_model_takes_fewer(encoders: Callable[[str], Path]):
    loaded = transformers.AutoModel.from_pretrained(encoders("Bert"))
    LongDocumentModel.from_encoder(loaded, labels=LABELS, max_tokens=16, encoder_layers=1)
    assert len(loaded.encoder.layer) == loaded.config.num_hidden_layers == 2


def test_lower_layers_are_the_first_of_the_encoder(make: Make):
    whole, lower = make(), make(encoder_layers=1)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        wanted = whole.encoder(input_ids=ids, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(lower.encoder(input_ids=ids).last_hidden_state, wanted)


@pytest.mark.parametrize("kind", ["T5", "Longformer", "BigBird", "Qwen2"])
def test_longer_rows_encoders_of_seq2seq_models_and_decoders_train_and_decide_alike(kind: str, tmp_path: Path):
    model = LongDocumentModel.from_encoder(_special(kind, tmp_path / "encoder"), labels=LABELS, max_tokens=32, overlap_tokens=4).eval()
    trained = values(model, DOCUMENTS).softmax(dim=-1).numpy()
    np.testing.assert_allclose(probabilities(model, DOCUMENTS), trained, atol=2e-5)
    for place, text in enumerate(DOCUMENTS):
        np.testing.assert_allclose(probabilities(model, [text])[0], trained[place], atol=2e-5)
    model.save_pretrained(tmp_path / "out")
    np.testing.assert_allclose(probabilities(str(tmp_path / "out"), DOCUMENTS), trained, atol=2e-5)


def _special(kind: str, folder: Path) -> Path:
    family = {"T5": "XLNet", "Longformer": "Roberta", "BigBird": "Bert", "Qwen2": "GPT2"}[kind]
    tokenizer = save_tokenizer(family, folder)
    small = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    configs = {
        "T5": lambda: transformers.T5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=5
        ),
        "Longformer": lambda: transformers.LongformerConfig(**small, attention_window=8, max_position_embeddings=66, pad_token_id=1),
        "BigBird": lambda: transformers.BigBirdConfig(
            **small, block_size=4, num_random_blocks=1, max_position_embeddings=64, pad_token_id=0
        ),
        "Qwen2": lambda: transformers.Qwen2Config(**small, num_key_value_heads=1, max_position_embeddings=64),
    }
    torch.manual_seed(3)
    transformers.AutoModel.from_config(configs[kind]()).save_pretrained(folder)
    return folder


def test_longformer_lets_the_first_token_see_everything(tmp_path: Path):
    model = LongDocumentModel.from_encoder(_special("Longformer", tmp_path), labels=LABELS, max_tokens=32, pooling="first").eval()
    near = transformers.LongformerModel.from_pretrained(tmp_path).eval()
    ids = torch.randint(5, 50, (1, 32), generator=torch.Generator().manual_seed(0))
    marks = torch.zeros_like(ids)
    marks[:, 0] = 1
    with torch.inference_mode():
        wanted = near(input_ids=ids, global_attention_mask=marks).last_hidden_state
        torch.testing.assert_close(model.encoder(input_ids=ids).last_hidden_state, wanted)


def test_new_weights_are_the_same_for_a_seed_and_leave_random_numbers_alone(make: Make):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = make(seed=1)
    torch.manual_seed(5)
    second, other = make(seed=1), make(seed=2)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    torch.manual_seed(5)
    LongDocumentModel.from_encoder((first.encoder, first.tokenizer), labels=LABELS, max_tokens=16)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ["a", "a"]}, "repeats 'a'"),
        ({"labels": ["a"]}, "nothing to choose"),
        ({"labels": []}, "at least one name"),
        ({"labels": "ab"}, "give a list"),
        ({"labels": ["a", " "]}, "not blank"),
        ({"problem": "ranking"}, "single_label"),
        ({"aggregator": "best"}, "register_aggregator"),
        ({"aggregator": "evidence"}, "use one of"),
        ({"aggregator_options": {"depth": 3}}, "no option 'depth'"),
        ({"max_tokens": MAX_TOKENS + 1}, "reads at most"),
        ({"pooling": "sum"}, "'mean', 'first', 'last'"),
        ({"states": "tokens", "aggregator": "mean"}, "label_attention"),
        ({"dropout": 1.0}, "dropout"),
        ({"stride": 3}, "'stride'"),
        ({"encoder_layers": 3}, "has 2 layers"),
    ],
)
def test_a_wrong_option_is_told_with_what_is_allowed(make: Make, options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        make(**options)


@pytest.mark.parametrize("options", [{"labels": ["x", "y"]}, {"aggregate": "mean"}])
def test_a_trained_model_keeps_its_labels_and_its_aggregator(make: Make, options: dict[str, Any]):
    with pytest.raises(ModelError, match=r"own (labels|aggregator)"):
        longctx.chunk_and_classify("text", make(), **options)


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _with_foreign_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "labels": [*config["labels"], "d"]}))


def _with_an_unknown_aggregator(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder": {**config["encoder"], "model_type": "unheard-of"}}))


def _without_labels(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["labels"]
    (folder / "config.json").write_text(json.dumps(config))


def _truncated(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


@pytest.mark.parametrize("damage", [_without_weights, _with_foreign_weights, _with_an_unknown_aggregator, _without_labels, _truncated])
def test_a_damaged_folder_is_refused_with_its_name(make: Make, tmp_path: Path, damage: Callable[[Path], None]):
    make().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        longctx.chunk_and_classify("text", str(tmp_path))


def test_a_configuration_cannot_choose_code_kernels_or_precision(make: Make, tmp_path: Path):
    make().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder"] |= {"auto_map": {"AutoModel": "evil.Evil"}, "_attn_implementation": "evil/kernel", "dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = LongDocumentModel.from_pretrained(tmp_path)
    assert type(loaded.encoder) is transformers.BertModel
    assert loaded.encoder.dtype == torch.float32
    assert loaded.encoder.config._attn_implementation in {"sdpa", "eager"}


def test_a_folder_that_is_no_saved_model_is_refused(encoders: Callable[[str], Path]):
    with pytest.raises(ModelLoadError, match="save_pretrained"):
        LongDocumentModel.from_pretrained(encoders("Bert"))


def test_push_to_hub_uploads_what_is_saved(make: Make, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    seen: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            seen["token"] = token

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            seen["repo"] = repo_id, options
            return type("Repo", (), {"repo_id": f"me/{repo_id}"})()

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
            seen["files"] = repo_id, {path.name for path in Path(folder_path).iterdir()}, commit_message
            return type("Commit", (), {"commit_url": "the address"})()

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert make().push_to_hub("name", private=True, token="secret") == "the address"
    assert seen["token"] == "secret"
    assert seen["repo"] == ("name", {"private": True, "exist_ok": True})
    repo, files, _ = seen["files"]
    assert repo == "me/name"
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files
