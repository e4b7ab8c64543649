"""Chunking speed as a ratio to the call users write today: a transformers tokenizer with overflow, offsets and padding.

Run with ``python benches/chunking.py``. Needs the folder ``../shared/data``; says so and ends where it is not there.
"""

from __future__ import annotations

import gzip
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import longctx

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
TOKENIZERS = ("bert-base-uncased", "roberta-base", "xlm-roberta-base")
DOCUMENT_CHARS = 20_000
N_DOCUMENTS = 40
ROUNDS = 3


def documents() -> list[str]:
    with gzip.open(DATA / "plain" / "war_and_peace.md.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    return [text[i * DOCUMENT_CHARS : (i + 1) * DOCUMENT_CHARS] for i in range(N_DOCUMENTS)]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, texts: list[str]) -> None:
    """Time both in turn, so that a change of the machine's speed hits both."""
    from transformers import PreTrainedTokenizerFast

    path = DATA / "tokenizers" / name / "tokenizer.json"
    peer = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<pad>" if name.startswith(("roberta", "xlm")) else "[PAD]")
    ours = longctx.Chunker(path, offsets=True, threads=1)

    def peer_call() -> object:
        return peer(
            texts, max_length=512, stride=64, truncation=True, padding=True, return_overflowing_tokens=True,
            return_offsets_mapping=True, return_tensors="np",
        )  # fmt: skip

    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rounds = [(seconds(lambda: ours(texts)), seconds(peer_call)) for _ in range(ROUNDS)]
    own = statistics.median(own for own, _ in rounds)
    ratio = statistics.median(other / own for own, other in rounds)
    print(f"{name:20} longctx, 1 thread: {megabytes / own:5.2f} MB/s   {ratio:5.2f}x transformers with overflow and offsets", flush=True)


def main() -> int:
    if not DATA.is_dir():
        print(f"skipped: no test data at {DATA}")
        return 0
    texts = documents()
    for name in TOKENIZERS:
        compare(name, texts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
