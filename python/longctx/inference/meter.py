"""Counts and times of a run while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from longctx.inference.backends.first_token import is_first_token_model
from longctx.run_stats import RunStats

if TYPE_CHECKING:
    from longctx.inference.planning import RowGroup

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bf16 or fp16, per second, by a word of the device's name. PCIe and NVL cards of a name have less than the SXM figure here."""


class Meter:
    """One run's counts. Reading and chunking are told by the reader's thread, everything else by the caller's."""

    def __init__(self) -> None:
        self.documents = 0
        self.rows = 0
        self.duplicate_rows = 0
        self.tokens = 0
        self.padding_tokens = 0
        self.batches = 0
        self.packed_batches = 0
        self._squared_lengths = 0
        self._seconds = dict.fromkeys(("reading", "chunking", "waiting", "computing", "aggregating"), 0.0)
        self._start = time.perf_counter()

    def group_ran(self, group: RowGroup) -> None:
        """Count a group of rows that the model read."""
        n_tokens = group.n_row_tokens
        self.rows += len(group.rows)
        self.tokens += n_tokens
        self.padding_tokens += group.n_tokens - n_tokens
        self.batches += 1
        self.packed_batches += group.is_packed
        self._squared_lengths += sum(row.n_tokens**2 for row in group.rows)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time inside to one of the parts."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start

    def computing(self) -> Any:
        """Time in which the caller waits for the model."""
        return self.timed("computing")

    def add_seconds(self, part: str, seconds: float) -> None:
        """Add time that was measured elsewhere."""
        self._seconds[part] += seconds

    def stats(self, device: torch.device, model: Any = None) -> RunStats:
        """Give everything so far; ``model`` is asked how much arithmetic a token needs."""
        seconds = time.perf_counter() - self._start
        return RunStats(
            documents=self.documents,
            rows=self.rows,
            duplicate_rows=self.duplicate_rows,
            tokens=self.tokens,
            padding_tokens=self.padding_tokens,
            batches=self.batches,
            packed_batches=self.packed_batches,
            seconds=seconds,
            **{f"seconds_{part}": time for part, time in self._seconds.items()},
            device=str(device),
            mfu=self._mfu(seconds, device, model),
            peak_memory_bytes=_peak_resident(),
            peak_device_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        )

    def _mfu(self, seconds: float, device: torch.device, model: Any) -> float | None:
        if device.type != "cuda" or model is None or model.dtype not in (torch.bfloat16, torch.float16):
            return None
        peak = _peak_flops(torch.cuda.get_device_name(device))
        n_first = self.rows if is_first_token_model(model) else None
        needed = model_flops(model.config, self.tokens, self._squared_lengths, n_first=n_first)
        return None if peak is None or needed is None else needed / seconds / peak


def model_flops(config: Any, n_tokens: int, squared_lengths: int, *, n_first: int | None = None) -> float | None:
    """Arithmetic of an encoder: projections and the feed-forward part by token, attention by the sum of squared row lengths.

    None where the configuration does not tell the sizes. A BERT-base needs 188.7 million operations a token at rows of 512:

    >>> from types import SimpleNamespace
    >>> bert = SimpleNamespace(hidden_size=768, intermediate_size=3072, num_hidden_layers=12)
    >>> model_flops(bert, 512, 512**2) / 512 / 1e6
    188.743680...

    Args:
        config: of the model.
        n_tokens: of all rows.
        squared_lengths: their lengths, squared and added.
        n_first: how many rows there are, where the last layer computes their first tokens only; else None.
    """
    sizes = [getattr(config, name, None) for name in ("hidden_size", "intermediate_size", "num_hidden_layers")]
    if not all(isinstance(width, int) for width in sizes):
        return None
    hidden, inner, n_layers = (int(width) for width in sizes if width is not None)
    keys_and_values, others = 4 * hidden**2, 4 * hidden**2 + 4 * hidden * inner
    layer = (keys_and_values + others) * n_tokens + 4 * hidden * squared_lengths
    if n_first is None:
        return float(n_layers * layer)
    return float((n_layers - 1) * layer + (keys_and_values + 4 * hidden) * n_tokens + others * n_first)


def _peak_flops(device_name: str) -> float | None:
    words = device_name.replace("-", " ").split()
    return next((peak for name, peak in PEAK_FLOPS.items() if name in words), None)


def _peak_resident() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
