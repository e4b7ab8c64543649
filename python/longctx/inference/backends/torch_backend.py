"""The default backend: the model as transformers gives it, in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longctx.inference.backends.base import Readout, read_facts
from longctx.inference.backends.compiled import CompiledRows
from longctx.inference.workers import cpu_workers
from longctx.nn.embedding import embed_rows


class TorchBackend:
    """Runs a transformers model where it is, in the precision of its weights.

    Args:
        model: a torch module with the forward of transformers, already on its device and in eval mode.
        readout: what a row is worth.
        device: where the model is.
        compile_tokens: batches of full rows with so many tokens go through ``torch.compile``, which needs a C++ compiler on a CPU, and time
            before it gains any; None: no batches do.
    """

    def __init__(self, model: Any, readout: Readout, *, device: torch.device, compile_tokens: int | None = None) -> None:
        self.model = model
        self.compiled = None if compile_tokens is None else CompiledRows(model, compile_tokens)
        self.readout = readout
        self.device = device
        self.facts = read_facts(model)

    @property
    def name(self) -> str:
        """As the interface says."""
        dtype = next((parameter.dtype for parameter in self.model.parameters()), torch.float32)
        return f"torch {str(dtype).removeprefix('torch.')}"

    @property
    def n_parallel(self) -> int:
        """As the interface says. What ``torch.compile`` makes is not for several threads."""
        return cpu_workers() if self.device.type == "cpu" and self.compiled is None else 1

    def run(self, input_ids: Tensor, mask: Tensor | None, token_types: Tensor | None) -> Tensor:
        """As the interface says."""
        inputs = {"input_ids": input_ids.long()}
        if mask is not None:
            inputs["attention_mask"] = mask.long()
        if token_types is not None:
            inputs["token_type_ids"] = token_types.long()
        forward = None if self.compiled is None or mask is not None else self.compiled.forward_for(tuple(input_ids.shape))
        with torch.inference_mode():
            return read_output((self.model if forward is None else forward)(**inputs), mask, self.readout)


def read_output(output: Any, mask: Tensor | None, readout: Readout) -> Tensor:
    """From what a transformers model returns to values ``(n_rows, d)``."""
    if readout.kind == "embedding":
        return embed_rows(output.last_hidden_state, mask, pooling=readout.pooling)
    if readout.kind == "tokens":
        return flat_tokens(output.last_hidden_state, mask, width=readout.width)
    logits: Tensor = output.logits
    return logits


def flat_tokens(hidden: Tensor, mask: Tensor | None, *, width: int) -> Tensor:
    """Token states ``(n_rows, n, hidden)`` to float32 ``(n_rows, 1 + width * hidden)``: their number, and they, zeros behind them.

    ``mask`` is ``(n_rows, n)``, False at padding, which is on the right; None where there is none.
    """
    n_rows, n, _ = hidden.shape
    mask = torch.ones(n_rows, n, dtype=torch.bool, device=hidden.device) if mask is None else mask
    kept = hidden.float().masked_fill(~mask.unsqueeze(-1), 0.0)
    filled = torch.nn.functional.pad(kept, (0, 0, 0, width - n))
    return torch.cat([mask.sum(dim=1, keepdim=True).float(), filled.flatten(1)], dim=1)


def unflat_tokens(values: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
    """Undo ``flat_tokens`` for values ``(..., 1 + width * hidden)``: states ``(..., width, hidden)`` and their mask ``(..., width)``."""
    states = values[..., 1:].unflatten(-1, (-1, hidden))  # type: ignore[no-untyped-call]  # torch has no types here
    mask = torch.arange(states.shape[-2], device=values.device) < values[..., :1]
    return states, mask
