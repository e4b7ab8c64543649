"""How much of each document was read, and why not all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of one document.

    Attributes:
        tokens: content tokens of the whole document.
        tokens_read: tokens that are in at least one row.
        chunks: chunks the document was cut into.
        chunks_read: chunks that became rows.
        reason: why something is missing; empty when everything was read.
    """

    tokens: int
    tokens_read: int
    chunks: int
    chunks_read: int
    reason: str = ""

    @property
    def tokens_unread(self) -> int:
        """Tokens that are in no row."""
        return self.tokens - self.tokens_read

    @property
    def complete(self) -> bool:
        """True when every token was read."""
        return self.tokens_read == self.tokens

    @property
    def fraction(self) -> float:
        """Share of the tokens that was read, from 0 to 1; 1 for an empty document."""
        return self.tokens_read / self.tokens if self.tokens else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class CoverageTable(Sequence[Coverage]):
    """Coverage of the documents that have rows in a batch, kept as columns.

    Attributes:
        document_index: int64 ``(n_documents,)``, the documents in order.
        counts: int64 ``(n_documents, 4)``: tokens, tokens_read, chunks, chunks_read.
        select_reason: the option that left chunks out, as the user wrote it.
    """

    document_index: NDArray[np.int64]
    counts: NDArray[np.int64]
    select_reason: str = ""

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> Coverage: ...
    @overload
    def __getitem__(self, index: slice) -> list[Coverage]: ...
    def __getitem__(self, index: int | slice) -> Coverage | list[Coverage]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        tokens, tokens_read, chunks, chunks_read = (int(value) for value in self.counts[index])
        reason = "" if tokens_read == tokens else self.select_reason
        return Coverage(tokens, tokens_read, chunks, chunks_read, "empty document" if tokens == 0 else reason)

    def __iter__(self) -> Iterator[Coverage]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        tokens, read = int(self.counts[:, 0].sum()), int(self.counts[:, 1].sum())
        return f"CoverageTable({len(self)} documents, {tokens:,} tokens, {read:,} read)"
