"""Page-locked buffers are used again, but never while a copy from them is under way: a stand-in for torch.cuda keeps the log."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from longctx.inference.transfer import LateValues, PinnedTransfer, transfer_for


class FakeCuda:
    """Streams and events that write down what is asked of them."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.n_events = 0
        self.is_done = False

    def Stream(self, device: torch.device) -> Any:
        return _Stream(self, "copying")

    def current_stream(self, device: torch.device) -> Any:
        return _Stream(self, "computing")

    def stream(self, stream: Any) -> Any:
        return nullcontext()

    def Event(self) -> Any:
        self.n_events += 1
        return _Event(self, self.n_events)


class _Stream:
    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_event(self, event: Any) -> None:
        self.cuda.log.append((self.name, "waits for", event.number))


class _Event:
    def __init__(self, cuda: FakeCuda, number: int) -> None:
        self.cuda, self.number = cuda, number

    def record(self, stream: Any) -> None:
        self.cuda.log.append(("recorded", self.number, stream.name))

    def synchronize(self) -> None:
        self.cuda.log.append(("host waits for", self.number))

    def query(self) -> bool:
        return self.cuda.is_done


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return FakeCuda()


def test_arrays_of_any_size_and_type_arrive_whole(cuda: FakeCuda):
    transfer = PinnedTransfer(torch.device("cpu"), cuda=cuda, n_buffers=3)
    rng = np.random.default_rng(0)
    for shape in [(3, 4), (100,), (1, 1), (0,), (7, 300), (2, 2)]:
        for dtype in (np.int32, np.int64):
            array = rng.integers(0, 1000, shape).astype(dtype)
            tensor = transfer.to_device(array).clone()
            np.testing.assert_array_equal(tensor.numpy(), array)
            assert tensor.numpy().dtype == dtype


def test_a_buffer_is_written_again_only_when_its_copy_is_done(cuda: FakeCuda):
    transfer = PinnedTransfer(torch.device("cpu"), cuda=cuda, n_buffers=2)
    for _ in range(5):
        transfer.to_device(np.zeros(4, np.int32))
    assert [entry[1] for entry in cuda.log if entry[0] == "host waits for"] == [1, 2, 3]


def test_computing_waits_for_each_copy_and_the_host_for_none_of_the_first(cuda: FakeCuda):
    transfer = PinnedTransfer(torch.device("cpu"), cuda=cuda, n_buffers=4)
    for _ in range(4):
        transfer.to_device(np.zeros(4, np.int32))
    assert [entry for entry in cuda.log if entry[0] == "computing"] == [("computing", "waits for", n) for n in (1, 2, 3, 4)]
    assert not [entry for entry in cuda.log if entry[0] == "host waits for"]


def test_on_the_processor_tensors_share_the_memory_of_arrays():
    array = np.arange(6, dtype=np.int32)
    assert transfer_for(torch.device("cpu")).to_device(array).data_ptr() == array.ctypes.data
    late = LateValues(torch.ones(2, 3))
    assert late.are_there
    np.testing.assert_array_equal(late.values(), np.ones((2, 3), np.float32))


def test_values_on_their_way_are_there_when_the_device_says_so_and_are_waited_for_otherwise(cuda: FakeCuda):
    late = LateValues(torch.ones(2, 3), cuda=cuda)
    assert cuda.log == [("recorded", 1, "computing")]
    assert not late.are_there
    cuda.is_done = True
    assert late.are_there
    assert late.values().tolist() == [[1.0] * 3] * 2
    assert cuda.log[1:] == [("host waits for", 1)]
