"""Threads that compute batches beside each other on the CPU, each with its share of torch's threads."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import TypeVar

import torch

T = TypeVar("T")

CPU_WORKERS = 2
"""Two batches at a time, each on half of torch's threads, are read a fifth faster than one on all of them: fewer wait for each other."""
_SETTING = threading.Lock()
"""Held while the number of threads that torch gives to new threads is another than the user's."""


def cpu_workers() -> int:
    """How many batches to compute at a time on the CPU: one where the calling thread has a single thread for it."""
    with _SETTING:
        return min(CPU_WORKERS, torch.get_num_threads())


class Workers:
    """Computes in threads of its own, which start with the first task and end with ``close``.

    For one run only: a process that is forked has none of the threads of its parent.

    Args:
        n_workers: tasks that run at a time.
    """

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Let a task run when a thread is free; what it raises is raised by the future's ``result``."""
        if self._executor is None:
            self._executor = _start(self._n_workers)
            _RUNNING.add(self)
        return self._executor.submit(task)

    def close(self) -> None:
        """Drop tasks that have not begun, wait for those that have, and end the threads."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None
            _RUNNING.discard(self)


def run_as_batch(task: Callable[[], T], n_workers: int) -> T:
    """Run a task as a batch of a run with so many workers is: in one of them, or with one in the calling thread.

    With another number of torch's threads, layers may compute in another way.
    """
    if n_workers == 1:
        return task()
    with closing(Workers(n_workers)) as workers:
        return workers.submit(task).result()


_RUNNING: weakref.WeakSet[Workers] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the interpreter is taken apart: a stream that was left in the middle is closed when the executor's module is gone."""
    for workers in list(_RUNNING):
        workers.close()


def _start(n_workers: int) -> ThreadPoolExecutor:
    """Start all threads at once: torch's setter also changes what threads made later get, so it is set back behind the last of them."""
    numbers = count()
    all_begun = threading.Barrier(n_workers + 1)
    with _SETTING:
        n_threads = torch.get_num_threads()

        def begin() -> None:
            number = next(numbers)
            threading.current_thread().name = f"longctx-compute-{number}"
            torch.get_num_threads()  # a thread's first question or operation takes the number of the process, also over one set before
            torch.set_num_threads(max(1, (n_threads + number) // n_workers))

        executor = ThreadPoolExecutor(n_workers, initializer=begin)
        try:
            for _ in range(n_workers):
                executor.submit(all_begun.wait)
            all_begun.wait()
        except BaseException:  # no more threads to be had, or an interrupt: those that have begun must not wait for ever
            all_begun.abort()
            executor.shutdown()  # waits for them: what they set would else be set behind the setting back
            raise
        finally:
            torch.set_num_threads(n_threads)
    return executor
