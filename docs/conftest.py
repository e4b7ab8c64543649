"""The Python and shell blocks of the pages run as tests, each page in a folder of its own with an encoder, a classifier and data.

What a page finds there: ``encoder/`` and ``classifier/`` (tiny, with random weights), ``train.jsonl``, ``validation.jsonl``,
``test.jsonl`` (columns ``text`` and ``label``) and ``contract.txt``. A block that cannot run is skipped by a comment before it, which
says why.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, which reads it once: no test may use the network

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import longctx
from longctx import cli
from longctx.minilm import find_minilm

LABELS = ("neg", "pos")
WORDS = {"neg": ("dull", "poor"), "pos": ("fine", "moving")}
FILLER = ("the", "film", "was", "long", "and", "a", "plot", ".")


def enter(namespace: dict[str, Any]) -> None:
    """Go to a new folder with what the pages read, and say which extras are there."""
    folder = Path(tempfile.mkdtemp())
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("LONGCTX_CACHE", str(folder / "cache"))
    patch.setitem(sys.modules, "openvino", None)  # pages that are not about it must not export their models first
    save_models(folder)
    for seed, name in enumerate(("train", "validation", "test")):
        save_reviews(folder / f"{name}.jsonl", seed=seed)
    (folder / "contract.txt").write_text("The parties agree. " * 200 + "The liability of the supplier is unlimited.", encoding="utf-8")
    namespace |= {
        "patch": patch,
        "folder": folder,
        "longctx": longctx,
        "can_learn": all(find_spec(package) is not None for package in ("accelerate", "sklearn", "matplotlib")),
        "has_minilm": find_minilm() is not None,
    }


def leave(namespace: dict[str, Any]) -> None:
    """Go back, and remove the folder."""
    namespace["patch"].undo()
    shutil.rmtree(namespace["folder"])


def save_models(folder: Path) -> None:
    """Write an encoder and a classifier of two labels with random weights, with their tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *(word for words in WORDS.values() for word in words)]
    tokenizer = BertTokenizerFast(vocab={name: index for index, name in enumerate(names)}, model_max_length=128)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 128}
    config = BertConfig(vocab_size=len(names), id2label=dict(enumerate(LABELS)), **sizes)
    torch.manual_seed(0)
    for name, model in (("encoder", BertModel(config)), ("classifier", BertForSequenceClassification(config))):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def save_reviews(path: Path, *, seed: int) -> None:
    """Write reviews of some hundred words whose verdict stands late."""
    generator = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for index in range(24):
            label = LABELS[index % 2]
            words = [*generator.choices(FILLER, k=250), *generator.choices(WORDS[label], k=5), *generator.choices(FILLER, k=20)]
            file.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")


def run_commands(example: Example) -> None:
    """Run each line, which must be a call of longctx, in this process, as the test of the command line does; it must succeed."""
    for line in str(example.parsed).splitlines():
        arguments = shlex.split(line, comments=True)
        assert arguments[:1] == ["longctx"], f"{line!r} is no call of longctx; skip the block, and say why"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code, f"{line} ended with status {ended.value.code}"


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="sh", evaluator=run_commands), SkipParser()],
    pattern="*.md",
    setup=enter,
    teardown=leave,
).pytest()
