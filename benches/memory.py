"""Peak memory of the two shapes of bulk work, each in a process of its own: one huge document, and very many small ones.

Run `python benches/memory.py`. Prints peak resident memory against a limit, and fails when one is exceeded.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GIB = 2**30
SENTENCE = "The quick brown fox jumps over the lazy dog, and chunk {} of it ends here. "
SHAPES = {
    "stream": ("one document of 200 MB through Chunker.stream", 2 * GIB),
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


def measure(shape: str, tokenizer_path: str) -> None:
    """Do the work and print one JSON line; runs in the child process."""
    from longctx import Chunker

    chunker = Chunker(tokenizer_path, max_tokens=512, overlap_tokens=64, dtype="int32")
    start = time.perf_counter()
    if shape == "stream":
        n_rows = sum(len(batch) for batch in chunker.stream([text_of(200_000_000)], max_rows=4096))
    else:
        text = text_of(100 * 10_000)
        n_rows = len(chunker([text[i % 10_000 * 100 :][:100] for i in range(1_000_000)]))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
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
