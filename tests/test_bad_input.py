"""Bad options and bad tokenizers: each a longctx error that says what was given, what is allowed and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.pre_tokenizers import PreTokenizer

import longctx
from longctx import Chunker, ConfigError, LongctxError, TokenizerError
from tokenizers_built import built, fresh

SHORT: dict[str, Any] = {"max_tokens": 12, "overlap_tokens": 2}

# Options, and words that the message must hold.
BAD_OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"max_tokens": 2}, ["max_tokens=2", "at least 3"]),
    ({"max_tokens": 1}, ["max_tokens=1", "at least"]),
    ({"max_tokens": 0}, ["max_tokens=0", "at least"]),
    ({"max_tokens": -5}, ["max_tokens=-5"]),
    ({"max_tokens": True}, ["max_tokens=True"]),
    ({"max_tokens": 12.0}, ["max_tokens=12.0"]),
    ({"max_tokens": "12"}, ["max_tokens='12'"]),
    ({"max_tokens": 2**40}, ["max_tokens"]),
    ({"max_tokens": 2**70}, ["max_tokens"]),
    ({"max_tokens": float("nan")}, ["max_tokens"]),
    ({"overlap_tokens": 10}, ["overlap_tokens=10", "at most 9"]),
    ({"overlap_tokens": 500}, ["overlap_tokens=500", "at most 9"]),
    ({"overlap_tokens": -1}, ["overlap_tokens=-1"]),
    ({"overlap_tokens": 1.5}, ["overlap_tokens=1.5"]),
    ({"overlap_tokens": None}, ["overlap_tokens"]),
    ({"overlap_tokens": True}, ["overlap_tokens"]),
    ({"overlap_tokens": 2**70}, ["overlap_tokens"]),
    ({"boundary": "line"}, ["boundary", "line", "token", "word", "sentence", "paragraph"]),
    ({"boundary": None}, ["boundary"]),
    ({"boundary": 3}, ["boundary"]),
    ({"tail": "drop"}, ["tail", "drop", "keep", "backfill", "balance", "merge"]),
    ({"tail": b"keep"}, ["tail"]),
    ({"select": "best", "max_chunks": 2}, ["select", "best", "head", "tail", "head_tail", "random", "tfidf"]),
    ({"select": "head"}, ["select", "max_chunks"]),
    ({"max_chunks": 3}, ["max_chunks", "select"]),
    ({"select": "head", "max_chunks": 0}, ["max_chunks=0"]),
    ({"select": "head", "max_chunks": -1}, ["max_chunks=-1"]),
    ({"select": "head", "max_chunks": 1.0}, ["max_chunks=1.0"]),
    ({"select": "head", "max_chunks": True}, ["max_chunks=True"]),
    ({"select": "random", "max_chunks": 2, "seed": "x"}, ["seed"]),
    ({"select": "random", "max_chunks": 2, "seed": -1}, ["seed=-1"]),
    ({"select": "random", "max_chunks": 2, "seed": 2**64}, ["seed"]),
    ({"specials": "ignore"}, ["specials", "ignore", "text", "parse", "error"]),
    ({"padding": "left"}, ["padding", "left", "longest", "max_tokens"]),
    ({"padding": True}, ["padding"]),
    ({"dtype": "int16"}, ["dtype", "int16", "int64", "int32"]),
    ({"dtype": float}, ["dtype"]),
    ({"dtype": np.dtype("int32")}, ["dtype"]),
    ({"threads": 0}, ["threads=0", "at least 1"]),
    ({"threads": -2}, ["threads=-2"]),
    ({"threads": 1.5}, ["threads=1.5"]),
    ({"threads": True}, ["threads=True"]),
    ({"offsets": "yes"}, ["offsets"]),
    ({"prefix": "the fox reads the document " * 9}, ["max_tokens=12", "prefix"]),
    ({"suffix": "the fox reads the document " * 9}, ["max_tokens=12", "suffix"]),
    ({"prefix": "fox", "suffix": "dog"}, ["prefix", "suffix"]),
    ({"prefix": 5}, ["prefix"]),
    ({"prefix": ["fox"]}, ["prefix"]),
    ({"suffix": b"\xff"}, ["suffix"]),
    ({"prefix": "fox \ud800"}, ["prefix"]),
]


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS, ids=[str(o)[:60] for o, _ in BAD_OPTIONS])
def test_a_bad_option_is_a_config_error_that_names_it(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Chunker(built("bert_like"), **{**SHORT, **options})
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert len(message) > 20
    assert "\n" not in message


def test_the_message_of_the_contract_is_word_for_word() -> None:
    with pytest.raises(ConfigError) as caught:
        Chunker(built("bert_like"), max_tokens=2, overlap_tokens=0)
    assert str(caught.value) == "max_tokens=2 leaves no room: this tokenizer adds 2 special tokens; use at least 3."


def test_the_default_overlap_that_does_not_fit_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"overlap_tokens=64.*at most"):
        Chunker(built("bert_like"), max_tokens=32)


def test_options_are_keywords_only() -> None:
    with pytest.raises(TypeError):
        Chunker(built("bert_like"), 12)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="stride"):
        Chunker(built("bert_like"), stride=3)  # type: ignore[call-arg]


def test_max_tokens_none_without_a_model_that_says_so_is_explained() -> None:
    with pytest.raises(ConfigError, match="max_tokens"):
        Chunker(built("bert_like"), max_tokens=None)


def test_numpy_integers_are_integers() -> None:
    chunker = Chunker(built("bert_like"), max_tokens=np.int64(12), overlap_tokens=np.int32(2))  # type: ignore[arg-type]
    assert (chunker.max_tokens, chunker.overlap_tokens) == (12, 2)


@pytest.mark.parametrize("tokenizer", [None, 5, b"x", ["bert"], object(), {}, str], ids=lambda value: repr(value).split(" at ")[0])
def test_what_is_no_tokenizer_is_a_tokenizer_error(tokenizer: Any) -> None:
    with pytest.raises(TokenizerError) as caught:
        Chunker(tokenizer, **SHORT)
    assert "tokenizer" in str(caught.value)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "tokenizer.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def without_model() -> str:
    definition = json.loads(fresh("bert_like").to_str())
    del definition["model"]
    return json.dumps(definition)


def changed(**parts: Any) -> str:
    """A good definition with some of its parts replaced."""
    return json.dumps(json.loads(fresh("bert_like").to_str()) | parts)


BAD_FILES: dict[str, str | bytes] = {
    "empty": "",
    "not json": "{ not json",
    "cut short": built("bert_like").to_str()[:5000],
    "json of something else": '{"architectures": ["BertModel"]}',
    "a list": "[]",
    "null": "null",
    "cut short in the vocabulary": built("bert_like").to_str()[:-100],
    "invalid UTF-8 in the vocabulary": built("bert_like").to_str().encode()[:-3] + b"\xff}}}",
    "more after the end": built("bert_like").to_str() + "x",
    "without a model": without_model(),
    "invalid UTF-8": b'{"model": "\xff\xfe"}',
    "binary": bytes(range(256)),
    "a deep nest": "[" * 100_000,
    "padding that is a text": changed(padding="[PAD]"),
    "a padding id below zero": changed(padding={"pad_id": -1}),
    "added tokens that are a text": changed(added_tokens="[PAD]"),
    "an added token without an id": changed(added_tokens=[{"content": "[PAD]"}]),
}
BAD_SETTINGS: dict[str, tuple[str, Any]] = {
    "a limit that is a text": ("tokenizer_config.json", {"model_max_length": "512"}),
    "inputs that are a number": ("tokenizer_config.json", {"model_input_names": 5}),
    "a side that is a number": ("tokenizer_config.json", {"padding_side": 1}),
    "a segment that is a text": ("tokenizer_config.json", {"pad_token_type_id": "x"}),
    "positions that are a list": ("config.json", {"max_position_embeddings": [512]}),
    "a padding id that is a text": ("config.json", {"model_type": "roberta", "max_position_embeddings": 9, "pad_token_id": "x"}),
}


@pytest.mark.parametrize("kind", sorted(BAD_SETTINGS))
def test_a_setting_of_the_wrong_kind_is_a_tokenizer_error_that_names_it(kind: str, tmp_path: Path) -> None:
    file, settings = BAD_SETTINGS[kind]
    written(tmp_path, built("bert_like").to_str())
    (tmp_path / file).write_text(json.dumps(settings))
    with pytest.raises(TokenizerError, match=list(settings)[-1]):
        Chunker(tmp_path, **SHORT)


def test_limits_that_say_nothing_are_no_limits(tmp_path: Path) -> None:
    written(tmp_path, built("bert_like").to_str())
    for limit in (1e30, -5, 0, float("nan"), None):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
        with pytest.raises(ConfigError, match="max_tokens=None"):
            Chunker(tmp_path, max_tokens=None)


def test_a_row_is_as_long_as_the_lesser_of_what_tokenizer_and_model_allow(tmp_path: Path) -> None:
    written(tmp_path, built("roberta_like").to_str())
    # RoBERTa counts positions from the padding id + 1, so that its table of 34 serves rows of 32.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta", "max_position_embeddings": 34, "pad_token_id": 1}))
    for limit, expected in ((None, 32), (20, 20), (1e30, 32), (40, 32)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
        assert Chunker(tmp_path, max_tokens=None, overlap_tokens=0).max_tokens == expected


def test_a_tokenizer_with_parts_in_python_is_a_tokenizer_error() -> None:
    class Splitter:
        def pre_tokenize(self, text: Any) -> None: ...

    tokenizer = fresh("bert_like")
    tokenizer.pre_tokenizer = PreTokenizer.custom(Splitter())
    with pytest.raises(TokenizerError, match=r"cannot be written as a tokenizer\.json"):
        Chunker(tokenizer, **SHORT)


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 5000, "a b c", "a\x00b", "\ud800"], ids=["empty", "blank", "long", "blanks", "NUL", "surrogate"]
)
def test_a_name_that_can_be_no_tokenizer_is_a_printable_tokenizer_error(name: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        Chunker(name, **SHORT)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", sorted(BAD_FILES))
def test_a_broken_tokenizer_json_is_a_tokenizer_error_that_names_the_file(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, BAD_FILES[kind])
    for given in (path, str(path), tmp_path):
        with pytest.raises(TokenizerError) as caught:
            Chunker(given, **SHORT)
        assert str(given) in str(caught.value)
        assert "tokenizer.json" in str(caught.value)


def test_a_missing_file_is_a_longctx_error_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path / "tokenizer.json", str(tmp_path / "nothing" / "tokenizer.json")):
        with pytest.raises(LongctxError, match=r"tokenizer\.json"):
            Chunker(path, **SHORT)


def test_a_folder_without_a_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(LongctxError, match=r"tokenizer\.json"):
        Chunker(tmp_path, **SHORT)


def test_a_hub_id_that_cannot_be_had_is_a_longctx_error() -> None:
    with pytest.raises(TokenizerError, match="'nobody/no-such-model' is neither"):
        Chunker("nobody/no-such-model", **SHORT)


def test_a_file_a_folder_and_an_object_are_the_same_tokenizer(tmp_path: Path) -> None:
    path = written(tmp_path, built("bert_like").to_str())
    expected = Chunker(built("bert_like"), **SHORT)("the quick fox").input_ids.tolist()
    for given in (path, str(path), tmp_path, str(tmp_path)):
        assert Chunker(given, **SHORT)("the quick fox").input_ids.tolist() == expected
        assert Chunker.from_pretrained(given, **SHORT)("the quick fox").input_ids.tolist() == expected


def test_a_transformers_tokenizer_is_the_same_tokenizer() -> None:
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast  # untyped
    wrapped = make(tokenizer_object=fresh("bert_like"), pad_token="[PAD]", unk_token="[UNK]")
    batch, expected = (Chunker(t, **SHORT)(["the quick fox " * 9, "a"]) for t in (wrapped, built("bert_like")))
    assert batch.input_ids.tolist() == expected.input_ids.tolist()


def test_every_error_is_also_the_builtin_that_users_catch() -> None:
    values = (ConfigError, TokenizerError, longctx.DocumentError, longctx.ModelError)
    files = (longctx.ModelLoadError, longctx.ReadError)
    assert all(issubclass(error, ValueError) for error in values)
    assert all(issubclass(error, OSError) for error in files)
    assert issubclass(longctx.DocumentTypeError, TypeError)
    assert all(issubclass(error, LongctxError) for error in (*values, *files, longctx.DocumentTypeError))
