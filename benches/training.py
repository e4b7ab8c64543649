"""Memory and time of a training step against the length of the document: ``python benches/training.py``.

The packaged MiniLM learns from one document a step, with exact gradient caching and in the plain way, in rows of 512, each length in a
process of its own. Memory is the peak of that process, or with ``--device cuda`` of what torch has taken on the device. The plain way is
measured on documents of at most ``--most-plain`` tokens. Figures, and a picture where matplotlib is installed, go to
``benches/results/training``. Needs the extras ``minilm`` and ``train``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "training"
WAYS = ("cached", "plain")
WORDS = "the court held that the agreement between both parties was valid and dismissed the appeal of the company with costs . "


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(measure(options.way, options.tokens[0], options.steps, options.device)))
        return
    found = []
    for n_tokens in options.tokens:
        for way in WAYS:
            if way == "plain" and n_tokens > options.most_plain:
                continue
            told = _in_a_process(way, n_tokens, options)
            found.append(told)
            print(
                f"{n_tokens:7,} tokens, {way:6}: {told['seconds']:7.2f} s a step, {told['tokens_per_second']:6,.0f} tokens/s, "
                f"peak {told['peak_mib']:6,.0f} MiB, of that {told['state_mib']:.1f} MiB states",
                flush=True,
            )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"memory-{options.device}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _draw(found, options.device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", nargs="*", type=int, default=[2_000, 5_000, 10_000, 30_000, 100_000])
    parser.add_argument("--most-plain", type=int, default=10_000, help="longest document for the plain way")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--way", choices=WAYS, help="measure one way and one length in this process")
    return parser.parse_args()


def _in_a_process(way: str, n_tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--way", way, "--tokens", str(n_tokens), "--steps", str(options.steps), "--device", options.device]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return told


def measure(way: str, n_tokens: int, n_steps: int, device: str) -> dict[str, Any]:
    """Take some steps on one document; the first is not counted in the time."""
    import numpy as np
    import torch

    from longctx import LongDocumentModel
    from longctx.learn.encoded import encode_documents
    from longctx.learn.gradient_cache import GradientCache
    from longctx.learn.losses import loss_of

    model = LongDocumentModel.from_encoder("minilm", labels=["a", "b"]).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    text = WORDS * (n_tokens // len(WORDS.split()))
    documents = encode_documents([text], np.zeros(1, np.int64), model.chunker(), takes_types=True)
    batch = {name: part.to(device) for name, part in documents.batch([0]).items()}
    seconds = []
    for _ in range(n_steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        cache = GradientCache(model, batch["documents"], token_budget=4096)
        values = cache.values() if way == "cached" else model(batch["documents"])
        loss_of(values, batch["labels"], "single_label", weights=None, smoothing=0.0).backward()
        if way == "cached":
            cache.replay()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    usual = statistics.median(seconds[1:])
    real = int(documents.lengths.sum())
    is_cuda = device == "cuda"
    peak_bytes = torch.cuda.max_memory_allocated() if is_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "way": way,
        "tokens": n_tokens,
        "seconds": usual,
        "tokens_per_second": real / usual,
        "peak_mib": peak_bytes / 2**20,
        "state_mib": len(documents.lengths) * model.head.weight.shape[1] * 4 / 2**20,
    }


def _draw(found: list[dict[str, Any]], device: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for way in WAYS:
        own = [told for told in found if told["way"] == way]
        axes.plot([told["tokens"] for told in own], [told["peak_mib"] for told in own], marker="o", label=way)
    axes.set(xscale="log", xlabel="tokens of the document", ylabel=f"peak memory ({device}), MiB", ylim=(0, None))
    axes.legend()
    figure.savefig(RESULTS / f"memory-{device}.png", dpi=150)


if __name__ == "__main__":
    main()
