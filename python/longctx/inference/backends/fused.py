"""Encoder layers on the CPU that write less: what is between two matrix products is one pass over memory that was used before.

As transformers calls torch, a layer copies a bias into the place of each product before it, and makes new memory for everything, which
the system has to clear. Here products go where those of the layer before and of the last batch were, and ``longctx._core`` does what is
between them. Two biases need no pass. That of the keys adds the same to all scores of a query, which the softmax takes away again. That of
the values reaches the output as it is, since the weights of attention add up to 1.

For layers whose parts are known, in float32 and bfloat16.
"""

from __future__ import annotations

import threading
from functools import partial
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.activations import GELUActivation

from longctx._core import bias_add_norm, bias_gelu
from longctx.inference.backends.first_token import FirstTokenLayer
from longctx.inference.backends.layers import ATTENTION, attend, is_known, layers_of, parts_of
from longctx.inference.backends.twins import check_values, equal_or_plain, is_of_transformers, twin
from longctx.inference.workers import cpu_workers, run_as_batch

DTYPES = (torch.float32, torch.bfloat16)
MOST_THREADS = 2
"""Threads of a batch, beyond which it has the layers of transformers: what is between products is done by one thread here, while the others
wait, and by all of them there. Measured with one and two threads, where batches of 1,536 tokens take an eighth less time."""


class KeptMemory:
    """Memory for what is between the products of layers: each thread that computes has its own, as large as its largest batch needed."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __call__(self, name: str, *shape: int, dtype: torch.dtype) -> Tensor:
        """Give memory of that name and shape; what was asked for by the same name before, in the same thread, is overwritten."""
        kept: dict[str, Tensor] = self._of_thread.__dict__
        n_numbers = prod(shape)
        if name not in kept or kept[name].numel() < n_numbers or kept[name].dtype != dtype:
            kept.pop(name, None)  # before there is new memory for it
            kept[name] = torch.empty(n_numbers, dtype=dtype, device="cpu")
        return kept[name][:n_numbers].view(shape)

    def release(self) -> None:
        """Free the memory of all threads, but for what is in use."""
        self._of_thread = threading.local()


KEPT_MEMORY = KeptMemory()


class FusedLayer(nn.Module):
    """A layer that gives what another gives, with its weights.

    Args:
        layer: of a known architecture, and of parts that are known.
        output: where in ``KEPT_MEMORY`` states go: two names in turns, since one layer's output is the next one's input. None for new
            memory, where states are read when the next batch may be computed already.
    """

    def __init__(self, layer: nn.Module, output: str | None) -> None:
        super().__init__()
        self.layer = layer
        self._output = output

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **inputs: Any) -> Any:
        """As transformers calls a layer, with states ``(n_rows, n, hidden)``; where that is not what this is for, its own layer."""
        if not _is_for(hidden_states):
            return self.layer(hidden_states, attention_mask, *others, **inputs)
        parts, memory = parts_of(self.layer), partial(KEPT_MEMORY, dtype=hidden_states.dtype)
        given = hidden_states.flatten(0, 1).contiguous()
        n_tokens, hidden = given.shape
        n_inner = parts.up.out_features
        # The projections are gone when the feed-forward part comes.
        shared = memory("inner", n_tokens * max(3 * hidden, n_inner))
        projections = shared[: 3 * n_tokens * hidden].view(3, n_tokens, hidden)
        torch.addmm(parts.query.bias, given, parts.query.weight.t(), out=projections[0])
        torch.mm(given, parts.key.weight.t(), out=projections[1])
        torch.mm(given, parts.value.weight.t(), out=projections[2])
        query, key, value = projections.view(3, *hidden_states.shape)
        attended = attend(parts, query, key, value, attention_mask, **inputs).reshape(n_tokens, hidden)
        states = torch.mm(attended, parts.output.weight.t(), out=memory("states", n_tokens, hidden))
        bias = torch.addmv(parts.output.bias, parts.output.weight, parts.value.bias)
        _add_norm(states, bias, given, parts.attention_norm)
        inner = torch.mm(states, parts.up.weight.t(), out=shared[: n_tokens * n_inner].view(n_tokens, n_inner))
        bias_gelu(_array(inner), _array(parts.up.bias))
        output = None if self._output is None else memory(self._output, n_tokens, hidden)
        result = torch.mm(inner, parts.down.weight.t(), out=output)
        _add_norm(result, parts.down.bias, states, parts.norm)
        return result.view(hidden_states.shape)


def fused_model(model: Any) -> Any:
    """Give a model with such layers, with the same weights; the model itself where they would gain nothing, or its layers are not known.

    Args:
        model: a transformers model in eval mode, on its device; it stays as it is.
    """
    n_threads = ceil(torch.get_num_threads() / cpu_workers())
    if n_threads > MOST_THREADS or model.device.type != "cpu" or not (is_of_transformers(model) and is_known(model)):
        return model
    return equal_or_plain(model, _changed, _values, "layers are computed as transformers has them")


def _values(model: Any) -> Tensor:
    return run_as_batch(partial(check_values, model, with_padding=True), cpu_workers())


def _changed(model: Any) -> Any:
    changed = twin(model, ATTENTION)
    layers = layers_of(changed)
    for number, layer in enumerate(layers):
        if not isinstance(layer, FirstTokenLayer):
            _check_parts(layer)
            is_last = number + 1 == len(layers)
            layers[number] = FusedLayer(layer, None if is_last else f"output {number % 2}").eval()
    return changed


def _is_for(states: Tensor) -> bool:
    """Say whether states are as the memory and the functions want them, and the thread and the mode are those of a run."""
    is_here = states.dtype in DTYPES and states.device.type == "cpu" and torch.get_num_threads() <= MOST_THREADS
    # What inference mode has written to cannot be written to outside; autocast would have other dtypes than the memory's.
    return is_here and torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")


def _check_parts(layer: nn.Module) -> None:
    """Raise a ``TypeError`` for what a ``FusedLayer`` does not compute."""
    parts = parts_of(layer)
    if not (is_of_transformers(layer) and is_of_transformers(parts.attention)):
        raise TypeError("it may compute something of its own")
    products = [parts.query, parts.key, parts.value, parts.output, parts.up, parts.down]
    # Of these types and no other: what is made of them, as adapters are, may compute something else.
    if any(type(product) is not nn.Linear or product.bias is None for product in products):
        raise TypeError("its products are of another kind, or have no bias")
    if any(type(norm) is not nn.LayerNorm or norm.bias is None for norm in (parts.attention_norm, parts.norm)):
        raise TypeError("its norms are of another kind, or have no weights")
    if not (type(parts.activation) is GELUActivation and parts.activation.act is nn.functional.gelu):
        raise TypeError("its activation is not GELU with the error function")
    dtypes = {weight.dtype for weight in layer.parameters()}
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        raise TypeError("its weights are neither float32 nor bfloat16")


def _add_norm(states: Tensor, bias: Tensor, residual: Tensor, norm: nn.LayerNorm) -> None:
    scale, shift = _array(norm.weight), _array(norm.bias)
    bias_add_norm(_array(states), _array(bias), _array(residual), scale=scale, shift=shift, epsilon=norm.eps)


def _array(tensor: Tensor) -> NDArray[np.float32 | np.int16]:
    """Give the same memory to NumPy, which knows bfloat16 by its bits only."""
    array: NDArray[np.float32 | np.int16] = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
    return array
