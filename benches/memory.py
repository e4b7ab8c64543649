"""Peak memory of the shapes of bulk work, each in a process of its own: one huge document, very many small ones, and both together.

Run `python benches/memory.py`. Prints peak resident memory against a limit, and fails when one is exceeded.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from longctx import Chunker

GIB = 2**30
SENTENCE = "The quick brown fox jumps over the lazy dog, and chunk {} of it ends here. "
SHAPES = {
    "stream": ("one document of 200 MB through Chunker.stream", 2 * GIB),
    "mixed": (
        "one million documents of 100 characters and one of 500 MB in the middle through the engine, with a model that costs nothing",
        3 * GIB,
    ),
    "million": ("one million documents of 100 characters in one call", 4 * GIB),
}


def tokenizer_json() -> str:
    """Build a small WordPiece tokenizer that reads English text into about one token for each four characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = SENTENCE.lower().split()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,{}"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return str(tokenizer.to_str())


def text_of(n_characters: int) -> str:
    block = "".join(SENTENCE.format(i) for i in range(2_000))
    return (block * (n_characters // len(block) + 1))[:n_characters]


def mixed_documents(n_short: int, n_giant_chars: int) -> Iterator[str]:
    text = text_of(100 * 10_000)
    for i in range(n_short):
        if i == n_short // 2:
            yield text_of(n_giant_chars)
        yield f"{i} {text[i % 10_000 * 100 :][:90]}"


class FreeModel:
    """A backend that looks at two ids of a row: what is left is the engine."""

    def __init__(self) -> None:
        import torch

        from longctx.inference.backends.base import LOGITS, ModelFacts

        self.device = torch.device("cpu")
        self.facts = ModelFacts(takes_types=False, takes_mask=True, can_pad=True, n_known_ids=None)
        self.readout = LOGITS
        self.n_parallel = 1

    def run(self, input_ids: Tensor, mask: Tensor | None, token_types: Tensor | None) -> Tensor:
        """Read two ids."""
        del mask, token_types
        return input_ids[:, :2].float()


def loaded_bytes() -> int:
    """Load what the engine needs, and say how much is resident: the limit is for what comes on top."""
    FreeModel()
    import longctx.inference.engine  # noqa: F401

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run_mixed(chunker: Chunker) -> int:
    """Rows of all documents, each checked to have come in order."""
    from longctx.inference.engine import DocumentRun
    from longctx.inference.loop import RowRunner
    from longctx.inference.progress import HIDDEN
    from longctx.inference.tasks import Task
    from longctx.nn.aggregators import Mean

    runner = RowRunner(FreeModel(), token_budget=4096)
    task = Task(("a", "b"), "single_label", Mean(), chunker, runner)
    n_rows = n_documents = 0
    for prediction in DocumentRun(task, mixed_documents(1_000_000, 500_000_000), progress=HIDDEN, explain=False):
        n_rows += len(prediction.chunks)
        n_documents += 1
    if n_documents != 1_000_001:
        raise SystemExit(f"{n_documents} documents came back")
    return n_rows


def measure(shape: str, tokenizer_path: str) -> None:
    """Do the work and print one JSON line; runs in the child process."""
    from longctx import Chunker

    chunker = Chunker(tokenizer_path, max_tokens=512, overlap_tokens=64, dtype="int32")
    base_bytes = 0 if shape != "mixed" else loaded_bytes()
    start = time.perf_counter()
    if shape == "stream":
        n_rows = sum(len(batch) for batch in chunker.stream([text_of(200_000_000)], max_rows=4096))
    elif shape == "mixed":
        n_rows = run_mixed(chunker)
    else:
        text = text_of(100 * 10_000)
        n_rows = len(chunker([text[i % 10_000 * 100 :][:100] for i in range(1_000_000)]))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base_bytes
    print(json.dumps({"n_rows": n_rows, "peak_bytes": peak_bytes, "seconds": time.perf_counter() - start}))


def main() -> int:
    """Measure every shape; 1 when a limit is exceeded."""
    n_over = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokenizer_json(), "utf-8")
        for shape, (title, limit_bytes) in SHAPES.items():
            command = [sys.executable, __file__, shape, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"FAILED  {title}: exit {done.returncode}, {done.stderr.strip()[-300:] or 'no message'}")
                n_over += 1
                continue
            result = json.loads(done.stdout)
            verdict = "ok" if result["peak_bytes"] <= limit_bytes else "OVER"
            n_over += verdict != "ok"
            peak, limit = result["peak_bytes"] / GIB, limit_bytes / GIB
            print(f"{verdict:6}  {title}: peak {peak:.2f} of {limit:.0f} GiB, {result['n_rows']:,} rows, {result['seconds']:.1f} s")
    return 1 if n_over else 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2])
    else:
        sys.exit(main())
