"""From text in Parquet to labels, beside the usual ways, in one process and in turns: ``python benches/inference.py``.

Lengths are log-normal with a median of 900 tokens, and one document in a hundred is longer than 50,000. The model has the weights of
all-MiniLM-L6-v2 and a random head (``longctx[minilm]``), or, with ``--model bert-base``, the size of BERT-base and random weights. Texts
and the tokenizer of BERT-base are read from ``--data``, else ``$LONGCTX_DATA``, else ``../shared/data``. sentence-transformers is measured
where it is installed, here or by ``pip install --no-deps --target .bench/inference -r benches/requirements/inference.txt``.

On a GPU: ``python benches/inference.py --device cuda --dtype bfloat16 --documents 1000 --model bert-base``. Everyone computes in that
precision, and is called once without being counted, because kernels are loaded on first use.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers

import longctx
from longctx.inference.backends.base import LOGITS
from longctx.inference.backends.first_token import first_token_model
from longctx.inference.backends.fused import fused_model
from longctx.minilm import find_minilm

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".bench" / "inference"
MEDIAN_TOKENS, SIGMA = 900, 1.727  # sigma: a hundredth is longer than 50,000
CHARS_PER_TOKEN = 4.5
LIMIT_TOKENS = {"cpu": 8 * 512, "cuda": 128 * 512}
"""Tokens of a batch of the model alone: what is good for a CPU's cache, and what fills a GPU."""
BERT_BASE = "bert-base-uncased"
Contender = Callable[[], None]


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), options)
        contenders = setting.contenders()
        amount = f"{setting.n_documents} documents, {setting.n_tokens:,} tokens in rows of {options.max_tokens}"
        print(f"{amount}, {_machine(options.device)}, {options.dtype}", flush=True)
        if options.device != "cpu":
            _measure(contenders, 1)
        seconds = _measure(contenders, options.rounds)
    for name, times in seconds.items():
        ratio = statistics.median(other / own for other, own in zip(times, seconds["longctx"], strict=True))
        speed = setting.n_tokens / statistics.median(times)
        print(f"{name:24} {speed:9,.0f} tokens/s   longctx is {ratio:5.2f} times as fast ({min(times):.1f}-{max(times):.1f} s)")
    print(setting.classifier.last_run)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LONGCTX_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="minilm", choices=["minilm", "bert-base"])
    parser.add_argument("--device", default="cpu", choices=sorted(LIMIT_TOKENS))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--peer-batch", type=int, default=32, help="rows of a batch of the others")
    parser.add_argument("--backend", default="torch", help="what longctx computes with: torch, openvino, or auto")
    parser.add_argument("--compile", action="store_true", help="longctx compiles the model")
    parser.add_argument("--only", nargs="*", help="contenders beside longctx")
    return parser.parse_args()


def _measure(contenders: dict[str, Contender], n_rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; who begins moves on."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(n_rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return seconds


class Setting:
    """The documents, the model and all who read them."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._options = options
        self._model_folder = _classifier_folder(folder / "model", options)
        self._path = folder / "documents.parquet"
        texts = list(_documents(options.data, options.documents))
        pq.write_table(pa.table({"text": texts}), self._path)
        self.n_documents = len(texts)
        self._overlap = options.max_tokens // 8
        self.classifier = longctx.LongDocumentClassifier.from_pretrained(
            self._model_folder,
            max_tokens=options.max_tokens,
            overlap_tokens=self._overlap,
            device=options.device,
            dtype=options.dtype,
            backend=options.backend,
            compile=options.compile,
        )
        batch = longctx.Chunker(self._model_folder, max_tokens=options.max_tokens, overlap_tokens=self._overlap)(texts)
        spans = zip(batch.document_index, batch.char_spans.tolist(), strict=True)
        self._chunk_texts = [texts[index][start:end] for index, (start, end) in spans]
        self.n_tokens = int(batch.lengths.sum())
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._model_folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(self._model_folder, dtype=self._torch_dtype)
        self._model = model.eval().to(options.device)
        self._own_model = fused_model(first_token_model(self._model, LOGITS))

    def contenders(self) -> dict[str, Contender]:
        """Who takes part; longctx always does."""
        batch, device = self._options.peer_batch, self._options.device
        pipeline = transformers.pipeline("text-classification", model=self._model, tokenizer=self._tokenizer, device=device)
        everyone: dict[str, Contender] = {
            "longctx": self._longctx,
            "model alone, full rows": lambda: self._limit(self._model),
            "model alone, as longctx": lambda: self._limit(self._own_model),
            "naive loop": self._naive,
            "pipeline": lambda: list(pipeline(self._chunk_texts, batch_size=batch, truncation=True)) and None,
        }
        sentences = self._sentence_transformer()
        if sentences is not None:
            everyone["sentence-transformers"] = lambda: sentences.encode(self._chunk_texts, batch_size=batch) is None
        only = self._options.only
        return {name: run for name, run in everyone.items() if only is None or name in {"longctx", *only}}

    def _longctx(self) -> None:
        self.classifier(pq.read_table(self._path)["text"])

    def _naive(self) -> None:
        """Do as the tutorials: tokenize with overflow, batches of one size, padded."""
        texts = pq.read_table(self._path)["text"].to_pylist()
        rows = self._tokenizer(
            texts, truncation=True, max_length=self._options.max_tokens, stride=self._overlap, return_overflowing_tokens=True
        )
        owners = np.array(rows.pop("overflow_to_sample_mapping"))
        logits = []
        with torch.inference_mode():
            for start in range(0, len(owners), self._options.peer_batch):
                part = {name: column[start : start + self._options.peer_batch] for name, column in rows.items()}
                inputs = self._tokenizer.pad(part, return_tensors="pt").to(self._options.device)
                logits.append(self._model(**inputs).logits.float().cpu().numpy())
        values = np.concatenate(logits)
        for number in range(len(texts)):
            values[owners == number].mean(axis=0).argmax()

    def _limit(self, model: Any) -> None:
        """As many tokens as the documents have, in full rows that are ready on the device, in batches that suit it, on all threads.

        With more than two of these, layers that write less are not what computes.
        """
        device = self._options.device
        ids = torch.randint(
            1000, 20_000, (max(1, LIMIT_TOKENS[device] // self._options.max_tokens), self._options.max_tokens), device=device
        )
        with torch.inference_mode():
            for n_tokens in _parts(self.n_tokens, ids.numel()):
                logits = model(input_ids=ids[: max(1, round(n_tokens / ids.shape[1]))]).logits
            logits.cpu()  # waits for all of them

    def _sentence_transformer(self) -> Any:
        sys.path += [str(PEERS)] if PEERS.is_dir() else []
        try:
            kind = importlib.import_module("sentence_transformers").SentenceTransformer
        except ImportError:
            print("sentence-transformers is not installed")
            return None
        model = kind(self._model_folder, device=self._options.device, model_kwargs={"dtype": self._torch_dtype})
        model.max_seq_length = self._options.max_tokens
        return model

    @property
    def _torch_dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self._options.dtype]


def _machine(device: str) -> str:
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{torch.cuda.get_device_name() if device == 'cuda' else f'{torch.get_num_threads()} threads'}, {versions}"


def _parts(whole: int, part: int) -> Iterator[int]:
    while whole > 0:
        yield min(whole, part)
        whole -= part


def _classifier_folder(folder: Path, options: argparse.Namespace) -> str:
    """Give the packaged encoder, or a new one, a random head of four labels."""
    transformers.logging.set_verbosity_error()
    if options.model == "bert-base":
        vocabulary = options.data / "tokenizers" / BERT_BASE / "tokenizer.json"
        tokenizer = transformers.BertTokenizerFast(tokenizer_file=str(vocabulary), model_max_length=512)
        model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=4))
    else:
        source = find_minilm()
        if source is None:
            raise SystemExit("install the extra longctx[minilm]")
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(source, num_labels=4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _documents(data: Path, n_documents: int) -> Iterator[str]:
    """Distinct stretches of laws, of lengths at even quantiles, so that few documents have the same mix; shuffled."""
    text = "\n".join(_texts(data / "classification" / "eurlex57k_7000.jsonl.gz", 12_000_000))
    quantiles = [statistics.NormalDist().inv_cdf((i + 0.5) / n_documents) for i in range(n_documents)]
    lengths = np.random.default_rng(0).permutation([int(MEDIAN_TOKENS * CHARS_PER_TOKEN * np.exp(SIGMA * q)) for q in quantiles])
    at = 0
    for length in lengths.tolist():
        yield text[at : at + max(length, 1)]
        at = (at + length) % max(1, len(text) - length)


def _texts(path: Path, n_chars: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            n_chars -= len(text)
            yield text
            if n_chars < 0:
                return


if __name__ == "__main__":
    main()
