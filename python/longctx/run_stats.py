"""What a run did and where its time went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunStats:
    """The meter of one run, from the first document to the last result.

    Reading and chunking go on in a thread of their own while the model computes, so the parts may add up to more than the whole. The model
    computes ahead too, on CUDA and in threads on the CPU, so ``seconds_computing`` is at most the time it took.

    Attributes:
        documents: documents decided.
        rows: rows the model read.
        duplicate_rows: rows that were equal to one read shortly before, and were not read again.
        tokens: tokens of the rows the model read.
        padding_tokens: tokens computed beside them.
        batches: calls of the model.
        packed_batches: those of them whose rows were packed.
        seconds: wall time.
        seconds_reading: in the source of the documents.
        seconds_chunking: cutting them into rows.
        seconds_waiting: no rows were ready for the model.
        seconds_computing: the run waited for the model.
        seconds_aggregating: making predictions of values.
        device: where the model ran.
        mfu: share of the device's peak arithmetic that the rows' tokens needed; None where the peak is not known.
        peak_memory_bytes: the largest resident size of this process so far; None where the system does not say.
        peak_device_bytes: the most that torch held on the device; None on the CPU.
    """

    documents: int
    rows: int
    duplicate_rows: int
    tokens: int
    padding_tokens: int
    batches: int
    packed_batches: int
    seconds: float
    seconds_reading: float
    seconds_chunking: float
    seconds_waiting: float
    seconds_computing: float
    seconds_aggregating: float
    device: str
    mfu: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens of rows by wall time; padding does not count."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Padding among all tokens computed."""
        computed = self.tokens + self.padding_tokens
        return self.padding_tokens / computed if computed else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the wall time in which the run did not wait for the model: the model was idle for at most that."""
        return 1.0 - min(1.0, self.seconds_computing / self.seconds) if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, also what is computed from it, as plain values ready for ``json.dumps``."""
        derived = {name: getattr(self, name) for name in ("tokens_per_second", "padding_share", "idle_share")}
        return asdict(self) | derived

    def __str__(self) -> str:
        lines = [
            f"{self.documents:,} documents, {self.rows:,} rows in {self.batches:,} batches ({self.packed_batches:,} packed) "
            f"on {self.device}, {self.duplicate_rows:,} duplicate rows not read again",
            f"{self.tokens:,} tokens in {self.seconds:.2f} s: {self.tokens_per_second:,.0f} tokens/s, {self.padding_share:.1%} padding",
            f"seconds: {self.seconds_reading:.2f} reading, {self.seconds_chunking:.2f} chunking, {self.seconds_waiting:.2f} waiting, "
            f"{self.seconds_computing:.2f} computing, {self.seconds_aggregating:.2f} aggregating",
        ]
        memory = [] if self.mfu is None else [f"{self.mfu:.1%} of the device's peak"]
        memory += [] if self.peak_memory_bytes is None else [f"peak memory {self.peak_memory_bytes / 2**20:,.0f} MiB"]
        memory += [] if self.peak_device_bytes is None else [f"{self.peak_device_bytes / 2**20:,.0f} MiB on the device"]
        return "\n".join([*lines, *([", ".join(memory)] if memory else [])])
