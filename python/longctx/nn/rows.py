"""Rows of documents as flat tensors, cut into batches that fit in memory, and their states put back in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

MOST_PADDING = 0.1
"""Share of a batch that may be padding: a batch more costs less than many padded tokens."""


@dataclass(frozen=True)
class DocumentBatch:
    """Some documents, ready for a ``LongDocumentModel``: their rows without padding, or the states of these when they are known.

    Attributes:
        n_chunks: int64 ``(n_documents,)``, on the host.
        fresh_tokens: int64 ``(n_rows,)``.
        lengths: int64 ``(n_rows,)``, on the host: tokens of each row.
        ids: int32 ``(n_tokens,)``: the tokens of all rows, one row after the other; None where states are given.
        types: segments, as ``ids``; None where the encoder takes none.
        states: float ``(n_states, hidden)``, in the order of the rows; None where they are still to be made.
    """

    n_chunks: Tensor
    fresh_tokens: Tensor
    lengths: Tensor
    ids: Tensor | None = None
    types: Tensor | None = None
    states: Tensor | None = None

    def to(self, device: torch.device) -> DocumentBatch:
        """Move what is computed with; numbers that only steer stay on the host."""
        stays = ("n_chunks", "lengths")
        moved = {item.name: getattr(self, item.name) for item in fields(self)}
        return DocumentBatch(
            **{name: tensor if tensor is None or name in stays else tensor.to(device, non_blocking=True) for name, tensor in moved.items()}
        )


@dataclass(frozen=True)
class RowBatch:
    """Rows that go through the encoder together.

    Attributes:
        rows: int64 ``(n,)``: their numbers.
        ids: int64 ``(n, width)``.
        mask: bool ``(n, width)``; None where no row has padding.
        types: int64 ``(n, width)``; None where the encoder takes none.
        lengths: their tokens.
    """

    rows: Tensor
    ids: Tensor
    mask: Tensor | None
    types: Tensor | None
    lengths: list[int]


@dataclass(frozen=True)
class Padding:
    """How rows are filled up.

    Attributes:
        is_allowed: rows of nearly one length may meet; else only rows of one length do.
        id: fills ``ids``.
        type_id: fills ``types``.
    """

    is_allowed: bool
    id: int = 0
    type_id: int = 0


def row_batches(documents: DocumentBatch, *, token_budget: int, padding: Padding) -> Iterator[RowBatch]:
    """Cut rows into batches of at most ``token_budget`` tokens, padding included; a longer row goes alone.

    Which rows meet depends on nothing but their lengths.
    """
    lengths = documents.lengths.tolist()
    starts = torch.zeros(len(lengths) + 1, dtype=torch.int64)
    torch.cumsum(documents.lengths, 0, out=starts[1:])
    for rows in _groups(lengths, token_budget, can_pad=padding.is_allowed):
        yield _row_batch(documents, rows, [lengths[row] for row in rows], starts, padding)


def _groups(lengths: Sequence[int], token_budget: int, *, can_pad: bool) -> Iterator[list[int]]:
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        width = lengths[group[0]] if group else 0
        shortest = width * (1 - MOST_PADDING) if can_pad else width
        if group and (width * (len(group) + 1) > token_budget or lengths[row] < shortest):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _row_batch(documents: DocumentBatch, rows: list[int], lengths: list[int], starts: Tensor, padding: Padding) -> RowBatch:
    width = lengths[0]  # the longest is first
    number = torch.tensor(rows)
    place = torch.arange(width)
    mask = place < torch.tensor(lengths).unsqueeze(1)
    take = (starts[number].unsqueeze(1) + place) * mask
    ids = _taken(documents.ids, take, mask, padding.id)
    types = None if documents.types is None else _taken(documents.types, take, mask, padding.type_id)
    return RowBatch(number, ids, None if lengths[-1] == width else mask.to(ids.device), types, lengths)


def _taken(tokens: Tensor | None, take: Tensor, mask: Tensor, filler: int) -> Tensor:
    if tokens is None:
        raise ValueError("these documents have states and no ids")
    return tokens[take.to(tokens.device)].long().masked_fill(~mask.to(tokens.device), filler)


def stack(states: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """States ``(n_states, d)`` of documents with ``counts`` ``(n_documents,)`` of them to ``(n_documents, most, d)`` and the mask."""
    counts = counts.to(states.device)
    mask = torch.arange(int(counts.max()), device=states.device) < counts.unsqueeze(1)
    stacked = states.new_zeros(*mask.shape, states.shape[-1])
    stacked[mask] = states
    return stacked, mask


def in_order(parts: list[Tensor], places: list[Tensor]) -> Tensor:
    """Put states that were made batch by batch into the order of their places."""
    together = torch.cat(parts)
    place = torch.cat(places).to(together.device)
    return torch.zeros_like(together).index_copy(0, place, together)
