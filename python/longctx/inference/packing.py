"""Rows of different lengths one after the other in a single long row, so that nothing is padding.

Layers that look at one token at a time (nearly all of the work) do not notice. Attention does, so it goes through a function of our own
that keeps each row to itself: ``varlen_attn`` of torch on CUDA, else one call of torch's attention for each row.

transformers gives no error where this goes wrong: a model that ignores our function or the positions mixes rows in silence (mpnet,
deberta-v2, longformer and mobilebert do). So only known architectures are packed, and only after a comparison with the plain model.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from longctx.inference.backends.base import Backend, Readout
from longctx.inference.backends.first_token import is_first_token_model
from longctx.inference.backends.torch_backend import TorchBackend, read_output
from longctx.inference.backends.twins import is_close, relative_difference, twin
from longctx.inference.workers import run_as_batch

logger = logging.getLogger(__name__)

ATTENTION_NAME = "longctx_packed"
"""Registered for attention only: without a mask function of that name, transformers builds no mask, which would be tokens x tokens."""
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "data2vec-text", "roberta-prelayernorm"})
"""Position ids start behind the padding id, and padding inside a row is not counted."""
PACKABLE = OFFSET_POSITIONS | {"bert", "electra", "distilbert", "ernie", "modernbert"}
"""Values of ``config.model_type`` that were seen to keep packed rows apart."""
CHECK_LENGTHS = (7, 3, 12, 5)
VARLEN_CAPABILITY = (8, 0)
VARLEN_DTYPES = (torch.bfloat16, torch.float16)
LONGEST_HEAD = 256


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows one after the other.

    Attributes:
        ids: int32 or int64 ``(n_tokens,)``.
        types: the same for segments; None where the model takes none.
        starts: int32 ``(n_rows + 1,)``: row ``i`` is ``ids[starts[i]:starts[i + 1]]``.
        lengths: the same on the host.
    """

    ids: Tensor
    types: Tensor | None
    starts: Tensor
    lengths: Sequence[int]


class PackedBackend:
    """Reads packed rows. Shares the weights of the model it is made from, which stays as it is.

    Args:
        model: a transformers model of a packable architecture.
        readout: what a row is worth.
        longest: no row has more tokens; the same for all batches, so that nothing is compiled again.
    """

    def __init__(self, model: Any, readout: Readout, longest: int) -> None:
        self.model = twin(model, ATTENTION_NAME)
        self._readout = readout
        self._longest = longest
        self._takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._has_first_tokens = is_first_token_model(model)
        self._padding_id = _padding_id(model) if model.config.model_type in OFFSET_POSITIONS else None
        _base(self.model).register_forward_hook(self._rows_apart, with_kwargs=True)

    def run(self, rows: PackedRows) -> Tensor:
        """Values ``(n_rows, d)``, as of the plain backend."""
        ids = rows.ids.long()
        inputs: dict[str, Any] = {"input_ids": ids[None], "position_ids": self._positions(ids, rows.starts.long())[None]}
        if self._takes_types and rows.types is not None:
            inputs["token_type_ids"] = rows.types.long()[None]
        inputs |= {"cu_seq_lens_q": rows.starts, "cu_seq_lens_k": rows.starts}
        inputs |= {"max_length_q": self._longest, "max_length_k": self._longest, "row_lengths": rows.lengths}
        with torch.inference_mode():
            return read_output(self.model(**inputs), None, self._readout)

    def _positions(self, ids: Tensor, starts: Tensor) -> Tensor:
        lengths = starts.diff()
        if self._padding_id is None:
            return torch.arange(len(ids), device=ids.device) - _spread(starts[:-1], lengths, len(ids))
        counted = (ids != self._padding_id).long()
        total = counted.cumsum(0)
        before = _spread((total - counted)[starts[:-1]], lengths, len(ids))
        return (total - before) * counted + self._padding_id

    def _rows_apart(self, base: Any, arguments: Any, inputs: dict[str, Any], output: Any) -> Any:
        """Turn the states ``(1, n_tokens, hidden)`` into one per row: heads and pooling see rows of one token, ``(n_rows, 1, hidden)``."""
        del arguments
        states = output.last_hidden_state[0]
        if not self._has_first_tokens:
            states = self._states_of_rows(states, inputs["cu_seq_lens_q"].long())
        output.last_hidden_state = states.unsqueeze(1)
        if self._readout.kind == "logits" and getattr(base, "pooler", None) is not None:
            output.pooler_output = base.pooler(output.last_hidden_state)
        return output

    def _states_of_rows(self, states: Tensor, starts: Tensor) -> Tensor:
        if self._readout.kind == "embedding" and self._readout.pooling == "mean":
            return torch.segment_reduce(states.float(), "mean", lengths=starts.diff(), unsafe=True)
        is_last = self._readout.kind == "embedding" and self._readout.pooling == "last"
        return states[starts[1:] - 1 if is_last else starts[:-1]]


def pack_backend(backend: Backend, longest: int) -> PackedBackend | None:
    """Give what reads packed rows with the model of a torch backend; None where it cannot, or fails the comparison with it."""
    if not isinstance(backend, TorchBackend) or backend.readout.kind == "tokens" or not _is_packable(backend.model):
        return None
    try:
        packed = PackedBackend(backend.model, backend.readout, longest)
        difference = run_as_batch(partial(_difference, backend, packed), backend.n_parallel)
    except Exception as error:  # whatever a future version of transformers makes of it: the plain path is always right
        logger.info("packed rows are not used: %s", error)
        return None
    if is_close(difference, backend.model):
        return packed
    logger.info("packed rows are not used: results differ by %.2g from the plain model's", difference)
    return None


def _is_packable(model: Any) -> bool:
    config = model.config
    is_known: bool = getattr(config, "model_type", "") in PACKABLE and not getattr(config, "is_decoder", False)
    reads_first: bool = getattr(config, "classifier_pooling", "cls") == "cls"
    return is_known and reads_first and _has_attention(model)


def _difference(backend: TorchBackend, packed: PackedBackend) -> float:
    """Largest difference of packed rows to the same rows one by one, relative to the largest value."""
    generator = torch.Generator().manual_seed(0)
    window = getattr(backend.model.config, "local_attention", None) or 0
    lengths = [min(length, packed._longest) for length in (*CHECK_LENGTHS, window + 9)]  # one that is longer than a window
    rows = [torch.randint(0, backend.facts.n_known_ids or 1, (length,), generator=generator).to(backend.device) for length in lengths]
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=backend.device)
    together = packed.run(PackedRows(torch.cat(rows), None, starts, lengths))
    return relative_difference(together, torch.cat([backend.run(row[None], None, None) for row in rows]))


def _has_attention(model: Any) -> bool:
    """Whether torch has a fast attention for rows of unequal length here. On the CPU, plain attention row by row is that."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return bool(device.type == "cpu")
    heads = getattr(model.config, "num_attention_heads", 1)
    head_width = getattr(model.config, "head_dim", None) or model.config.hidden_size // heads
    is_new_enough = torch.cuda.get_device_capability(device) >= VARLEN_CAPABILITY and _varlen() is not None
    return bool(is_new_enough and model.dtype in VARLEN_DTYPES and head_width % 8 == 0 and head_width <= LONGEST_HEAD)


@cache
def _varlen() -> tuple[Any, frozenset[str]] | None:
    """Give ``varlen_attn`` and the names of its arguments, which differ between versions of torch; None where there is none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)


def varlen_options(arguments: frozenset[str], *, scaling: float | None, sliding_window: int | None, head_width: int) -> dict[str, Any]:
    """Options of ``varlen_attn`` for this attention: torch 2.10 knows neither scale nor window, 2.11 both.

    Raises:
        ValueError: it cannot do that.
    """
    options: dict[str, Any] = {}
    if "scale" in arguments:
        options["scale"] = scaling
    elif scaling is not None and abs(scaling - head_width**-0.5) > 1e-9:  # noqa: PLR2004 - rounding
        raise ValueError("this torch has no scale in its attention for rows of unequal length")
    if sliding_window is not None:
        if "window_size" not in arguments:
            raise ValueError("this torch has no window in its attention for rows of unequal length")
        options["window_size"] = (sliding_window - 1, sliding_window - 1)  # as transformers translates it for flash attention
    return options


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **inputs: Any,
) -> tuple[Tensor, None]:
    """Attention of packed rows, ``(1, n_heads, n_tokens, head)`` to ``(1, n_tokens, n_heads, head)``; each row sees only itself.

    There may be a single query for each row, with ``cu_seq_lens_q`` and ``max_length_q`` that say so.
    """
    del module
    starts, key_starts = inputs.get("cu_seq_lens_q"), inputs.get("cu_seq_lens_k")
    if attention_mask is not None or starts is None or key_starts is None or query.shape[0] != 1:
        raise ValueError("packed attention wants one packed row with its starts, and no mask")
    heads = (query[0], key[0], value[0])
    varlen = _varlen() if query.device.type == "cuda" else None
    if varlen is None:
        return _attend_in_runs(*heads, inputs["row_lengths"], scaling=scaling, sliding_window=sliding_window)[None], None
    attend, arguments = varlen
    options = varlen_options(arguments, scaling=scaling, sliding_window=sliding_window, head_width=query.shape[-1])
    tokens_first = [tensor.transpose(0, 1).contiguous() for tensor in heads]
    return attend(*tokens_first, starts, key_starts, inputs["max_length_q"], inputs["max_length_k"], **options)[None], None


def _attend_in_runs(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], *, scaling: float | None, sliding_window: int | None
) -> Tensor:
    """``(n_heads, n_tokens, head)`` to ``(n_tokens, n_heads, head)``, by a call of torch's attention for each run of equally long rows."""
    has_one_query = query.shape[1] == len(lengths)
    output, row, token = [], 0, 0
    for length, run in groupby(lengths):
        n_rows = sum(1 for _ in run)
        rows, tokens = slice(row, row + n_rows), slice(token, token + n_rows * length)
        asked = query[:, rows if has_one_query else tokens]
        parts = [part.reshape(len(part), n_rows, -1, part.shape[-1]).transpose(0, 1) for part in (asked, key[:, tokens], value[:, tokens])]
        mask = None if sliding_window is None or length < sliding_window else _window_mask(length, sliding_window, query.device)
        attended = torch.nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask, scale=scaling)
        output.append(attended.transpose(1, 2).flatten(0, 1))
        row, token = rows.stop, tokens.stop
    return torch.cat(output)


def _window_mask(length: int, sliding_window: int, device: torch.device) -> Tensor:
    place = torch.arange(length, device=device)
    return (place[:, None] - place[None, :]).abs() < sliding_window


def _spread(values: Tensor, lengths: Tensor, n_tokens: int) -> Tensor:
    """Repeat each row's value for its tokens; the total is known, so nothing waits for the device."""
    return torch.repeat_interleave(values, lengths, output_size=n_tokens)


def _base(model: Any) -> Any:
    return getattr(model, model.base_model_prefix, model)


def _padding_id(model: Any) -> int:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx)
    raise ValueError("the position embeddings name no padding id")


AttentionInterface.register(ATTENTION_NAME, _attend)
