"""On the processor two batches are computed at a time, in threads that end with the run and leave no trace."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longctx import LongDocumentClassifier, ModelError
from longctx.inference.backends.base import LOGITS
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.workers import Workers, cpu_workers
from models import DOCUMENTS, MAX_TOKENS, save_checkpoint, wrap_forward

SECONDS = 60
"""No test waits longer for a thread or a process: what hangs, fails."""
ALL_THREADS = 3
LONG = " ".join(f"fox {i}" for i in range(400))
"""Many rows, all of them different."""
NAMES = {"longctx-compute-0", "longctx-compute-1"}

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.fixture(autouse=True)
def all_threads() -> Iterator[None]:
    """Whatever machine this is, torch has three threads; and no test leaves one of ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(ALL_THREADS)
    yield
    torch.set_num_threads(before)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("longctx")] == []


def of_rows(classifier: LongDocumentClassifier, n_rows: int) -> str:
    """A document of that many full rows."""
    chunker = classifier._task.chunker
    n_words = next(n for n in range(1, 1000) if len(chunker("fox " * n)) == n_rows + 1) - 1
    return "fox dog " * (n_words // 2) + "fox " * (n_words % 2)


class Watch:
    """Wraps a model's forward: notes the thread and the size of every call; the first ``n_together`` have to run at the same time."""

    def __init__(self, n_together: int = 1, then: Callable[[int], None] = lambda number: None) -> None:
        self.barrier = threading.Barrier(n_together)
        self.n_together = n_together
        self.numbers = count()
        self.then = then
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watched(**inputs: Any) -> Any:
            number = next(self.numbers)
            self.calls.append((threading.current_thread().name, torch.get_num_threads(), inputs["input_ids"].numel()))
            if number < self.n_together:
                self.barrier.wait(SECONDS)
            self.then(number)
            return forward(**inputs)

        return watched

    @property
    def threads(self) -> set[str]:
        return {name for name, _, _ in self.calls}


def load(folder: Path, watch: Watch | None = None, **options: Any) -> LongDocumentClassifier:
    settings = {"device": "cpu", "token_budget": 4 * MAX_TOKENS, "overlap_tokens": 0, **options}
    classifier = LongDocumentClassifier.from_pretrained(folder, **settings)
    if watch is not None:
        wrap_forward(classifier, watch)
    return classifier


# Who computes what.


def test_two_batches_are_computed_at_a_time_each_with_its_share_of_the_threads(folder: Path):
    watch = Watch(n_together=2)
    got = load(folder, watch).predict_proba([LONG, *DOCUMENTS])
    first_two = {(name, n_threads) for name, n_threads, _ in watch.calls[:2]}
    assert first_two == {("longctx-compute-0", 1), ("longctx-compute-1", 2)}
    np.testing.assert_allclose(got, load(folder, deterministic=True).predict_proba([LONG, *DOCUMENTS]), atol=1e-5)


def test_a_document_of_one_row_is_computed_by_the_calling_thread_with_all_threads(folder: Path):
    watch = Watch()
    load(folder, watch)("short")
    ((name, n_threads, _),) = watch.calls
    assert (name, n_threads) == (threading.current_thread().name, ALL_THREADS)


@pytest.mark.parametrize("n_rows", [2, 3, 4, 5, 8])
def test_a_document_of_a_few_rows_is_shared_by_both(folder: Path, n_rows: int):
    watch = Watch(n_together=2)
    load(folder, watch, token_budget=8 * MAX_TOKENS)(" ".join(LONG.split()[: n_rows * (MAX_TOKENS - 2) - 3]))
    assert watch.threads >= NAMES
    n_tokens = [n for _, _, n in watch.calls]
    assert max(n_tokens) <= max(MAX_TOKENS, 0.52 * sum(n_tokens))


@pytest.mark.parametrize("options", [{"deterministic": True}, {"n_threads": 1}])
def test_where_threads_must_not_be_shared_the_calling_thread_does_it_all(folder: Path, options: dict[str, Any]):
    torch.set_num_threads(options.pop("n_threads", ALL_THREADS))
    watch = Watch()
    load(folder, watch, **options)([LONG, *DOCUMENTS])
    assert {(name, n) for name, n, _ in watch.calls} == {(threading.current_thread().name, torch.get_num_threads())}


def test_a_compiled_model_computes_one_batch_at_a_time(folder: Path):
    model = load(folder)._task.runner.backend.model
    assert TorchBackend(model, LOGITS, device=torch.device("cpu"), compile_tokens=2048).n_parallel == 1
    assert TorchBackend(model, LOGITS, device=torch.device("cpu")).n_parallel == 2
    assert TorchBackend(model, LOGITS, device=torch.device("meta")).n_parallel == 1


# What is left of it.


def threads_of_a_new_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join(SECONDS)
    return seen[0]


def test_a_run_leaves_the_number_of_threads_as_it_was(folder: Path):
    watch = Watch(n_together=2)
    stream = load(folder, watch).stream([LONG, *DOCUMENTS] * 3)
    next(stream)
    assert watch.threads == NAMES
    assert (threads_of_a_new_thread(), torch.get_num_threads()) == (ALL_THREADS, ALL_THREADS)  # also while it goes on
    list(stream)
    assert (threads_of_a_new_thread(), torch.get_num_threads(), cpu_workers()) == (ALL_THREADS, ALL_THREADS, 2)


def test_a_closed_stream_ends_its_threads(folder: Path):
    stream = load(folder, Watch(n_together=2)).stream(f"{i} {LONG}" for i in count())
    next(stream)
    assert {thread.name for thread in threading.enumerate()} >= NAMES
    stream.close()
    assert not NAMES & {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_model_is_raised_as_it_is_and_ends_the_threads(folder: Path):
    def fail(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError("in the fourth batch")

    with pytest.raises(ZeroDivisionError, match="fourth"):
        load(folder, Watch(n_together=2, then=fail))([LONG] * 5)


def test_threads_that_cannot_be_started_are_an_error_and_hang_nothing(monkeypatch: pytest.MonkeyPatch):
    start, n_started = threading.Thread.start, count(1)

    def start_one(thread: threading.Thread) -> None:
        if next(n_started) > 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Workers(2).submit(int)
    monkeypatch.undo()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("longctx")]
    assert threads_of_a_new_thread() == ALL_THREADS


def test_two_runs_at_a_time_do_not_disturb_each_other(folder: Path):
    classifier = load(folder)
    expected = classifier.predict_proba([LONG, *DOCUMENTS])
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(classifier.predict_proba([LONG, *DOCUMENTS]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(got) == 4
    for one in got:
        np.testing.assert_allclose(one, expected, atol=1e-5)
    assert threads_of_a_new_thread() == ALL_THREADS


PROGRAM = """
    import os, sys, threading, torch
    from longctx import LongDocumentClassifier
    torch.set_num_threads(2)
    text = " ".join(f"fox {{i}}" for i in range(2000))
    classifier = LongDocumentClassifier.from_pretrained({folder!r}, device="cpu", backend="torch", token_budget=128)
    stream = classifier.stream(f"{{i}} {{text}}" for i in range(3))
    next(stream)  # its threads are at work
    child = os.fork()
    if child == 0:  # torch hangs in the thread that forked when it has computed with several threads before; in another one it does not
        thread = threading.Thread(target=lambda: os._exit(len(classifier([text, text + " dog"]))))
        thread.start()
        thread.join()
    status = os.waitpid(child, 0)[1]
    sys.exit(0 if (os.waitstatus_to_exitcode(status), len(list(stream))) == (2, 2) else 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_in_the_middle_of_a_run_starts_threads_of_its_own(folder: Path):
    program = textwrap.dedent(PROGRAM.format(folder=str(folder)))
    done = subprocess.run([sys.executable, "-c", program], timeout=SECONDS, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# When memory ends.


def out_of_memory_at(*numbers: int) -> Callable[[int], None]:
    def fail(number: int) -> None:
        if number in numbers:
            raise torch.OutOfMemoryError

    return fail


def test_batches_that_run_out_of_memory_together_halve_the_budget_once(folder: Path):
    watch = Watch(n_together=2, then=out_of_memory_at(0, 1))
    classifier = load(folder, watch)
    got = classifier.predict_proba([LONG])
    first, second = (n_tokens for _, _, n_tokens in watch.calls[:2])
    assert first == second == 4 * MAX_TOKENS
    assert (classifier._task.runner.token_budget, classifier._task.runner.n_parallel) == (2 * MAX_TOKENS, 2)
    np.testing.assert_allclose(got, load(folder).predict_proba([LONG]), atol=1e-5)


def test_the_larger_of_the_batches_that_ran_out_of_memory_together_is_halved(folder: Path):
    watch = Watch(n_together=2, then=out_of_memory_at(0, 1))
    classifier = load(folder, watch)
    classifier(" ".join(LONG.split()[: 5 * (MAX_TOKENS - 2) - 3]))
    assert sorted(n_tokens for _, _, n_tokens in watch.calls[:2]) == [MAX_TOKENS, 2 * MAX_TOKENS]
    assert (classifier._task.runner.token_budget, classifier._task.runner.n_parallel) == (MAX_TOKENS, 2)


def test_a_single_row_that_ran_out_of_memory_in_company_is_tried_alone_and_so_is_everything_after_it(folder: Path):
    watch = Watch(n_together=2, then=out_of_memory_at(0, 1))
    classifier = load(folder, watch, token_budget=1)
    got = classifier.predict_proba([LONG])
    assert {name for name, _, _ in watch.calls[3:]} == {threading.current_thread().name}
    assert classifier._task.runner.n_parallel == 1
    np.testing.assert_allclose(got, load(folder).predict_proba([LONG]), atol=1e-5)


@pytest.mark.parametrize("token_budget", [1, 4 * MAX_TOKENS])
def test_a_single_row_that_does_not_fit_alone_either_is_an_error(folder: Path, token_budget: int):
    classifier = load(folder, Watch(then=out_of_memory_at(*range(1000))), token_budget=token_budget)
    with pytest.raises(ModelError, match="single row of"):
        classifier([LONG])
    assert classifier.last_run is not None
    assert classifier.last_run.batches == 0
