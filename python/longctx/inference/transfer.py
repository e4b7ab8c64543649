"""Arrays to a device and values back, without waiting for the device where that is possible."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RING_BUFFERS = 12
"""Up to three arrays a batch. A copy goes past the work that is queued on the device, so few are under way."""


class Transfer(Protocol):
    """Brings arrays to a device."""

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """Give the array as a tensor on the device. It may still be on its way, but work put on the device afterwards sees it whole."""


class DirectTransfer:
    """For the CPU, whose tensors share the array's memory, and devices without pinned memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """As the interface says."""
        return torch.from_numpy(array).to(self._device)


class PinnedTransfer:
    """For CUDA: through page-locked buffers that are used again and again, on a stream beside the one that computes.

    Args:
        device: a CUDA device.
        cuda: ``torch.cuda``; another module with its functions in tests.
        n_buffers: how many copies may be under way.
    """

    def __init__(self, device: torch.device, *, cuda: Any = torch.cuda, n_buffers: int = RING_BUFFERS) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)
        self._buffers: list[Tensor | None] = [None] * n_buffers
        self._copied: list[Any] = [None] * n_buffers
        self._next = 0

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """As the interface says."""
        buffer = self._buffer(array.nbytes)
        staged = buffer[: array.nbytes].view(torch.from_numpy(np.empty(0, array.dtype)).dtype).view(array.shape)
        staged.copy_(torch.from_numpy(array))
        computing = self._cuda.current_stream(self._device)
        with self._cuda.stream(self._stream):
            tensor = staged.to(self._device, non_blocking=True)
            copied = self._cuda.Event()
            copied.record(self._stream)
        computing.wait_event(copied)
        # The memory belongs to the copying stream; it must not be given away while the computing one reads it.
        tensor.record_stream(computing)
        self._copied[self._next] = copied
        self._next = (self._next + 1) % len(self._buffers)
        return tensor

    def _buffer(self, n_bytes: int) -> Tensor:
        """Give the ring's next buffer, free to be written, made larger where it has to be."""
        copied = self._copied[self._next]
        if copied is not None:
            copied.synchronize()
        buffer = self._buffers[self._next]
        if buffer is None or len(buffer) < n_bytes:
            buffer = torch.empty(2 * n_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
            self._buffers[self._next] = buffer
        return buffer


def transfer_for(device: torch.device) -> Transfer:
    """Pick what suits the device."""
    return PinnedTransfer(device) if device.type == "cuda" else DirectTransfer(device)


class LateValues:
    """Values on their way from the device. On the CPU they are there.

    Args:
        values: float32 ``(n_rows, d)`` on the device.
        cuda: what has its streams and events; None for ``torch.cuda`` where the values are there. Another module in tests.
    """

    def __init__(self, values: Tensor, *, cuda: Any = None) -> None:
        self._arrived: Any = None
        is_on_cuda = values.device.type == "cuda"
        cuda = torch.cuda if is_on_cuda and cuda is None else cuda
        if cuda is None:
            self._values = values.cpu()
            return
        self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=is_on_cuda)
        self._values.copy_(values, non_blocking=True)
        self._arrived = cuda.Event()
        self._arrived.record(cuda.current_stream(values.device))

    @property
    def are_there(self) -> bool:
        """True where nothing has to be waited for."""
        return self._arrived is None or bool(self._arrived.query())

    def values(self) -> NDArray[np.float32]:
        """Float32 ``(n_rows, d)``; waits for them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return np.asarray(self._values.numpy())
