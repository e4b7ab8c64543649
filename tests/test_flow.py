"""Batches on a device that answers late: as many in work as are allowed, values taken as they come, nothing lost when memory ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longctx import ChunkBatch, Chunker
from longctx.errors import ModelError
from longctx.inference.backends.base import LOGITS, ModelFacts
from longctx.inference.flow import Piece, RowFlow
from longctx.inference.loop import RowRunner
from longctx.inference.meter import Meter
from longctx.inference.planning import RowGroup
from longctx.inference.workers import Workers
from models import DOCUMENTS, save_tokenizer

MAX_TOKENS = 8
N_LATE = 3


class NoModel:
    """A backend whose model is never asked."""

    name = "none"
    device = torch.device("cpu")
    readout = LOGITS
    n_parallel = 1
    facts = ModelFacts(takes_types=False, takes_mask=True, can_pad=True, n_known_ids=None)

    def run(self, input_ids: torch.Tensor, mask: torch.Tensor | None, token_types: torch.Tensor | None) -> torch.Tensor:
        raise AssertionError("the device computes")


class TwoAtATime(NoModel):
    n_parallel = 2


class Held:
    """Values of a group: the sum of each row's ids. They are there when the test says so, or somebody waits."""

    def __init__(self, group: RowGroup, *, are_there: bool) -> None:
        self.are_there = are_there
        self.was_waited_for = False
        self._values = np.array([[row.ids.sum()] for row in group.rows if row.ids is not None], np.float32)

    def values(self) -> NDArray[np.float32]:
        self.was_waited_for = self.was_waited_for or not self.are_there
        return self._values


class Device(RowRunner):
    """Starts groups, which are done later; from the given ones on, memory ends for groups of more than a row."""

    def __init__(self, fails_from: int | None = None) -> None:
        super().__init__(NoModel(), token_budget=2 * MAX_TOKENS)
        self.started: list[Held] = []
        self.is_in_worker: list[bool] = []
        self.is_late = True
        self._fails_from = fails_from

    @property
    def n_late(self) -> int:
        return N_LATE

    def start(self, group: RowGroup, workers: Workers | None) -> Held | None:
        if self._fails_from is not None and len(self.started) >= self._fails_from and len(group.rows) > 1:
            return None
        self.started.append(Held(group, are_there=not self.is_late))
        self.is_in_worker.append(workers is not None)
        return self.started[-1]


@pytest.fixture(scope="module")
def chunker(tmp_path_factory: pytest.TempPathFactory) -> Chunker:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer("Bert", folder)
    return Chunker(folder, max_tokens=MAX_TOKENS, overlap_tokens=0)


@pytest.fixture(scope="module")
def batch(chunker: Chunker) -> ChunkBatch:
    return chunker(DOCUMENTS)


def flow_of(device: Device) -> RowFlow:
    return RowFlow(device, device.new_pool(frozenset({MAX_TOKENS}), "right"), Meter())


def read_all(flow: RowFlow) -> None:
    while flow.step(is_end=True):
        pass


def check_whole(flow: RowFlow, piece: Piece, batch: ChunkBatch) -> None:
    assert flow.complete() == [piece]
    assert piece.values is not None
    assert piece.values.tolist() == [[float(row[:n].sum())] for row, n in zip(batch.input_ids, batch.lengths, strict=True)]


def test_batches_are_in_work_before_the_first_is_waited_for(batch: ChunkBatch):
    device = Device()
    flow = flow_of(device)
    piece = flow.add([batch])
    for n_steps in range(1, N_LATE + 3):
        flow.step(is_end=True)
        waited = [held.was_waited_for for held in device.started]
        assert waited == [n < n_steps - N_LATE for n in range(n_steps)]
    read_all(flow)
    check_whole(flow, piece, batch)


def test_values_that_are_there_are_taken_in_order_and_without_waiting(batch: ChunkBatch):
    device = Device()
    flow = flow_of(device)
    flow.add([batch])
    for _ in range(N_LATE):
        flow.step(is_end=True)
    device.started[1].are_there = True  # behind one that is not
    assert len(flow._late) == N_LATE
    device.started[0].are_there = True
    flow.step(is_end=True)
    assert len(flow._late) == N_LATE - 1  # two taken, one more in work
    assert not any(held.was_waited_for for held in device.started)


@pytest.mark.parametrize("fails_from", [0, 2, 5])
def test_when_memory_ends_what_is_in_work_is_kept_and_the_rest_goes_in_smaller_batches(batch: ChunkBatch, fails_from: int):
    device = Device(fails_from)
    flow = flow_of(device)
    piece = flow.add([batch])
    read_all(flow)
    assert device.token_budget <= MAX_TOKENS
    check_whole(flow, piece, batch)


@pytest.mark.parametrize("is_late", [False, True])
def test_the_last_row_of_several_has_the_threads_of_the_others_whether_they_are_done_or_not(chunker: Chunker, is_late: bool):
    device = Device()
    device.backend, device.token_budget, device.is_late = TwoAtATime(), MAX_TOKENS, is_late
    flow = flow_of(device)
    for text, has_several in ((DOCUMENTS[0], True), (DOCUMENTS[1], False), (DOCUMENTS[2], True)):
        device.is_in_worker.clear()
        piece = flow.add([chunker(text)])
        read_all(flow)
        assert (len(device.is_in_worker) > 1) == has_several
        assert set(device.is_in_worker) == {has_several}
        check_whole(flow, piece, chunker(text))


def test_a_row_that_comes_while_others_are_in_work_is_not_alone(chunker: Chunker):
    device = Device()
    device.backend, device.token_budget = TwoAtATime(), MAX_TOKENS
    flow = flow_of(device)
    flow.add([chunker(DOCUMENTS[3])])
    while len(device.started) < 2:
        flow.step(is_end=True)
    flow.add([chunker(DOCUMENTS[1])])
    read_all(flow)
    assert set(device.is_in_worker) == {True}


def test_the_row_without_a_number_is_named(batch: ChunkBatch):
    device = Device()
    flow = flow_of(device)
    flow.add([batch])
    flow.step(is_end=True)
    device.started[0]._values[1] = np.nan
    start, end = batch.token_spans[1]
    with pytest.raises(ModelError, match=rf"document 0 \(tokens {start}-{end}\)"):
        read_all(flow)
