"""Rows ready for a model: ``ChunkBatch`` and its packed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from longctx.coverage import CoverageTable

RowArrays = tuple[
    NDArray[Any],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int32] | None,
]
"""The first seven arrays of a :class:`ChunkBatch`, as the core makes them."""


class Packed(NamedTuple):
    """The tokens of all rows, one row after the other, without padding.

    Attributes:
        ids: ``(n_tokens,)``, dtype of ``input_ids``.
        cu_seqlens: int32 ``(n_rows + 1,)``; row ``i`` is ``ids[cu_seqlens[i]:cu_seqlens[i + 1]]``.
        positions: int32 ``(n_tokens,)``, each token's place in its row.
    """

    ids: NDArray[Any]
    cu_seqlens: NDArray[np.int32]
    positions: NDArray[np.int32]


@dataclass(frozen=True)
class RowLayout:
    """What all rows of a chunker have in common.

    Attributes:
        before_type_ids: segments of the fixed tokens before the chunk.
        content_type_id: segment of the chunk.
        after_type_ids: segments of the fixed tokens after it.
        pad_id: fills ``input_ids`` up.
        pad_token_type_id: fills ``token_type_ids`` up.
        padding_side: ``"left"`` or ``"right"``.
        has_token_type_ids: whether the tokenizer's models take segments.
    """

    before_type_ids: tuple[int, ...]
    content_type_id: int
    after_type_ids: tuple[int, ...]
    pad_id: int
    pad_token_type_id: int
    padding_side: str
    has_token_type_ids: bool


@dataclass(frozen=True, eq=False, repr=False)
class ChunkBatch:
    """Rows of one or more documents, as C-contiguous NumPy arrays that lie where Rust wrote them.

    Attributes:
        input_ids: int64 or int32 ``(n_rows, width)``: special tokens, chunk, special tokens, padding.
        lengths: int32 ``(n_rows,)``: tokens of a row that are not padding.
        document_index: int32 ``(n_rows,)``: which document a row belongs to.
        token_spans: int64 ``(n_rows, 2)``: the chunk within its document's tokens.
        char_spans: int64 ``(n_rows, 2)``: the same in characters; ``text[start:end]`` is the passage.
        fresh_tokens: int64 ``(n_rows,)``: tokens of the chunk that no earlier row of the document holds.
        offsets: int32 ``(n_rows, width, 2)`` or None: each token's character span in its document; ``(0, 0)`` for special tokens,
            prefix, suffix and padding.
        coverage: one record for each document with rows in this batch, in document order.
        layout: what all rows have in common.
    """

    input_ids: NDArray[Any]
    lengths: NDArray[np.int32]
    document_index: NDArray[np.int32]
    token_spans: NDArray[np.int64]
    char_spans: NDArray[np.int64]
    fresh_tokens: NDArray[np.int64]
    offsets: NDArray[np.int32] | None
    coverage: CoverageTable
    layout: RowLayout

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        real, all_tokens = int(self.lengths.sum()), self.input_ids.size
        padding = 1 - real / all_tokens if all_tokens else 0.0
        return (
            f"ChunkBatch({self.n_rows} rows x {self.width} tokens, {self.input_ids.dtype}, from {self.n_documents} documents, "
            f"{padding:.1%} padding, {int(self.coverage.counts[:, 1].sum()):,} of {int(self.coverage.counts[:, 0].sum()):,} tokens read)"
        )

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.lengths)

    @property
    def n_documents(self) -> int:
        """Documents with at least one row in the batch."""
        return len(self.coverage)

    @property
    def width(self) -> int:
        """Tokens of a row, padding included."""
        return int(self.input_ids.shape[1])

    @property
    def pad_id(self) -> int:
        """The id that fills rows up."""
        return self.layout.pad_id

    @property
    def padding_side(self) -> str:
        """``"left"`` or ``"right"``."""
        return self.layout.padding_side

    @cached_property
    def attention_mask(self) -> NDArray[Any]:
        """Dtype and shape of ``input_ids``: 1 for tokens, 0 for padding. Made when first asked for."""
        return self._is_token.astype(self.input_ids.dtype)

    @cached_property
    def token_type_ids(self) -> NDArray[Any] | None:
        """Dtype and shape of ``input_ids``: segments; None where the tokenizer has none. Made when first asked for."""
        layout = self.layout
        if not layout.has_token_type_ids:
            return None
        kinds = {layout.pad_token_type_id, layout.content_type_id, *layout.before_type_ids, *layout.after_type_ids}
        if len(kinds) == 1:  # the rule: one segment, and padding that counts to it
            return np.full(self.input_ids.shape, kinds.pop(), dtype=self.input_ids.dtype)
        n_before, n_after = len(layout.before_type_ids), len(layout.after_type_ids)
        position = self._position
        from_end = position - (self.lengths[:, None] - n_after)
        types = np.full(self.input_ids.shape, layout.pad_token_type_id, dtype=self.input_ids.dtype)
        types[self._is_token] = layout.content_type_id
        for i, type_id in enumerate(layout.before_type_ids):
            types[position == i] = type_id
        for i, type_id in enumerate(layout.after_type_ids):
            types[(from_end == i) & (position >= n_before)] = type_id
        return types

    def packed(self) -> Packed:
        """Give the same rows without padding, for attention over variable lengths."""
        cu_seqlens = np.zeros(self.n_rows + 1, dtype=np.int32)
        np.cumsum(self.lengths, out=cu_seqlens[1:])
        return Packed(self.input_ids[self._is_token], cu_seqlens, self._position[self._is_token].astype(np.int32))

    def to_torch(self, device: str | torch.device | None = None, *, pin: bool = False) -> dict[str, torch.Tensor]:
        """Give the model's inputs as tensors: ``input_ids``, ``attention_mask`` and, where there are any, ``token_type_ids``.

        On the CPU they share memory with the arrays. ``pin=True`` copies them to page-locked memory first, for a faster transfer.
        """
        import torch

        arrays = {"input_ids": self.input_ids, "attention_mask": self.attention_mask, "token_type_ids": self.token_type_ids}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
        if pin:
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return {name: tensor.to(device, non_blocking=pin) for name, tensor in tensors.items()} if device is not None else tensors

    @cached_property
    def _position(self) -> NDArray[np.int64]:
        """Int64 ``(n_rows, width)``: place in the row's tokens; negative in left padding, from ``lengths`` on in right padding."""
        columns = np.arange(self.width, dtype=np.int64)[None, :]
        if self.padding_side == "right":
            return np.broadcast_to(columns, self.input_ids.shape)
        return columns - (self.width - self.lengths[:, None].astype(np.int64))

    @cached_property
    def _is_token(self) -> NDArray[np.bool_]:
        return (self._position >= 0) & (self._position < self.lengths[:, None])
