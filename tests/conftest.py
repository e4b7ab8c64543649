"""Hypothesis profiles and the fixtures that every test file may use."""

from __future__ import annotations

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, which reads it once: no test may use the network

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer

from commands import LONG_TEXT, WORDS, Outcome, Run
from longctx import cli
from tokenizers_built import as_family

DATA_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"

# Building a tokenizer inside the first example and a busy machine both look like slowness, which is not what these tests measure.
_CALM: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=30, **_CALM)
settings.register_profile("ci", max_examples=100, derandomize=True, **_CALM)
settings.register_profile("deep", max_examples=5000, **_CALM)
PROFILE = os.environ.get("LONGCTX_TEST_PROFILE", "dev")
settings.load_profile(PROFILE)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCTX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _torch_unless_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenVINO from tests that are not about it, which would export every model, and bfloat16: what is faster is chance there."""
    if "openvino" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.setattr("longctx.inference.backends.select._torch_has_bf16", lambda: False)


@pytest.fixture(scope="session")
def openvino() -> Any:
    """Skip where the extra is missing; tests that take this see it."""
    from longctx.inference.backends.openvino_backend import has_openvino, import_openvino

    if not has_openvino():
        pytest.skip("needs the extra: pip install 'longctx[openvino]'")
    return import_openvino()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real texts and tokenizers, kept outside the repository."""
    if not DATA_FOLDER.is_dir():
        pytest.skip(f"no test data at {DATA_FOLDER}: real texts and tokenizers are not part of the repository")
    return DATA_FOLDER


@pytest.fixture(scope="session")
def is_deep() -> bool:
    """True under LONGCTX_TEST_PROFILE=deep: tests that sample take everything."""
    return PROFILE == "deep"


@pytest.fixture(scope="session")
def real_tokenizer(data_folder: Path) -> Callable[[str], Tokenizer]:
    """``real_tokenizer(name)``: a published tokenizer as `tokenizers` loads it, without its own truncation and padding. Of families that
    are not in the data, ``"t5-small as albert"`` has all but the vocabulary."""

    @cache
    def load(name: str) -> Tokenizer:
        base, _, family = name.partition(" as ")
        path = data_folder / "tokenizers" / base / "tokenizer.json"
        if not path.is_file():
            pytest.skip(f"no tokenizer at {path}")
        tokenizer = as_family(Tokenizer.from_file(str(path)), family) if family else Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    return load


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT without a head, to train models on."""
    from models import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("encoder"), "Bert", head="Model")


@pytest.fixture
def make(encoder: Path) -> Any:
    """``make(**options)``: a ``LongDocumentModel`` on that encoder."""
    from training import maker

    return maker(encoder)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process, with stdout and stderr as pipes would have them."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["longctx", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capfd.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with random weights and a vocabulary of eight words, in the files that transformers saves."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("checkpoint")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    BertTokenizerFast(vocab={name: index for index, name in enumerate(names)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        id2label={0: "happy", 1: "sad"},
        label2id={"happy": 0, "sad": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Path:
    return checkpoint / "tokenizer.json"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(LONG_TEXT)
    return path
