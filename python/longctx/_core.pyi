from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from longctx.batch import RowArrays

__all__ = ["Chunker", "Plan", "__version__", "bias_add_norm", "bias_gelu", "outline"]

__version__: str

@final
class Chunker:
    """A tokenizer with all its cutting rules. Immutable; any number of threads may use it at once."""

    def __new__(cls, tokenizer_json: bytes, options: Mapping[str, object]) -> Chunker: ...
    @property
    def room_tokens(self) -> int: ...
    @property
    def has_token_type_ids(self) -> bool: ...
    @property
    def content_type_id(self) -> int: ...
    @property
    def before_type_ids(self) -> list[int]: ...
    @property
    def after_type_ids(self) -> list[int]: ...
    def plan(self, runs: Sequence[object], first_document: int = 0) -> Plan:
        """Tokenizes and cuts documents: runs of `(offsets, data)`, `(views, buffers)`, or lists of `str` and `bytes`."""

    def rows(self, runs: Sequence[object]) -> tuple[RowArrays, NDArray[np.int64]]:
        """All rows of all documents: the arrays, and int64 `(n_documents, 4)` as of a plan's `coverage`."""

    def explain(self) -> str:
        """Which engine reads this tokenizer, and why."""

_Numbers = NDArray[np.float32 | np.int16]
"""Float32, or the bits of bfloat16."""

def bias_add_norm(states: _Numbers, bias: _Numbers, residual: _Numbers, *, scale: _Numbers, shift: _Numbers, epsilon: float) -> None:
    """Put the normalized `x + bias + residual` in the place of each `x` of `states`, C-contiguous `(n, width)`, as `residual`.

    `bias`, and what the norm multiplies by and adds, `scale` and `shift`, are `(width,)`. A `ValueError` for other shapes and orders.
    """

def bias_gelu(states: _Numbers, bias: _Numbers) -> None:
    """Put `gelu(x + bias)` in the place of each `x` of `states`, C-contiguous `(n, width)`; `bias` is `(width,)`.

    GELU is the exact one, with the error function. A `ValueError` for other shapes and orders.
    """

def outline(tokenizer_json: bytes, tokens: Sequence[str]) -> tuple[tuple[int | None, int, str | None] | None, int | None]:
    """Give the padding of a `tokenizer.json` (id, segment, direction), and the id of the first of `tokens` that it has."""

@final
class Plan:
    """Documents, tokenized and cut."""

    @property
    def n_rows(self) -> int: ...
    def rows(self, start: int, stop: int) -> RowArrays:
        """Arrays of rows `start..stop`."""

    def coverage(self, start: int, stop: int) -> tuple[int, NDArray[np.int64]]:
        """Count what became of the documents with rows in `start..stop`: the first one's index, and int64 `(n_documents, 4)` of counts."""
