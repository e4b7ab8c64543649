"""Forks, spawned processes and threads: same results, no hang, nothing printed, the GIL released."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from longctx import Chunker
from test_chunk_rows import contents
from tokenizers_built import built

LENGTHS: dict[str, Any] = {"max_tokens": 32, "overlap_tokens": 4}
TEXTS = ["The quick brown fox jumps over the lazy dog. " * n for n in (1, 50, 0, 200)] * 4

# Run in a process of its own: this one has used threads of other libraries, which warn on a fork.
IN_PROCESSES = """
import multiprocessing, sys
from tokenizers_built import built
from longctx import Chunker

CHUNKER = Chunker(built("bert_like"), max_tokens=32, overlap_tokens=4, threads=4)
TEXTS = ["The quick brown fox jumps over the lazy dog. " * n for n in (1, 50, 0, 200)] * 4

def rows(chunker):
    return chunker(TEXTS).input_ids.tobytes()

def rows_of_inherited(_):
    return rows(CHUNKER)

if __name__ == "__main__":
    expected = rows(CHUNKER)
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        results = pool.map(rows, [CHUNKER] * 4) + pool.map(rows_of_inherited, range(4))
    sys.exit(0 if all(result == expected for result in results) else 3)
"""


def run_in_silence(code: str, folder: Path, **environment: str) -> None:
    """Check that a process of its own does this, with the modules beside this one, and neither fails nor prints anything, nor warns."""
    script = folder / "process.py"
    script.write_text(code)
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    variables = os.environ | {"PYTHONPATH": paths} | environment
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes_give_the_same_rows_and_print_nothing(method: str, tmp_path: Path) -> None:
    run_in_silence(IN_PROCESSES.format(method=method), tmp_path)


def test_eight_threads_on_one_chunker_give_the_same_rows() -> None:
    chunker = Chunker(built("bert_like"), threads=2, **LENGTHS)
    expected = contents(chunker(TEXTS))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: contents(chunker(TEXTS)), range(24)))
    assert all(result == expected for result in results)


def test_eight_threads_may_each_make_a_chunker() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: contents(Chunker(built("t5_like"), **LENGTHS)(TEXTS)), range(16)))
    assert all(result == results[0] for result in results)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system may grant a stack of any size")
def test_where_no_thread_can_be_started_the_calling_one_does_the_work(tmp_path: Path) -> None:
    code = """
import sys
from tokenizers_built import built
from longctx import Chunker
texts = ["the quick brown fox " * n for n in range(50)]
many, one = (Chunker(built("bert_like"), max_tokens=32, overlap_tokens=4, threads=n)(texts) for n in (50_000, 1))
sys.exit(0 if (many.input_ids == one.input_ids).all() else 3)
"""
    run_in_silence(code, tmp_path, RUST_MIN_STACK=str(2**47))  # no system has room for one such thread


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which threads there are, and the number of the last one")
def test_threads_are_started_where_there_is_work_for_them_and_end_with_the_call(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from tokenizers_built import built
from longctx import Chunker
chunker = Chunker(built("bert_like"), max_tokens=32, overlap_tokens=4, threads=8)
before, last = set(os.listdir("/proc/self/task")), lambda: int(Path("/proc/loadavg").read_text("ascii").split()[-1])
for n_calls, text, least, most in [(500, "a short text", 0, 500), (50, "the quick brown fox " * 100_000, 50, 1000)]:
    first = last()
    for _ in range(n_calls):
        chunker(text)
    assert set(os.listdir("/proc/self/task")) == before
    n_started = last() - first
    assert n_started < 0 or least <= n_started < most, n_started  # numbers begin anew when there are no more
"""
    run_in_silence(code, tmp_path, OPENBLAS_NUM_THREADS="1")


def seconds_of(chunker: Chunker, text: str) -> float:
    start = time.perf_counter()
    chunker(text)
    return time.perf_counter() - start


@pytest.mark.parametrize("threads", [1, 2])
def test_another_python_thread_goes_on_during_a_long_call(threads: int) -> None:
    chunker = Chunker(built("t5_like"), threads=threads, **LENGTHS)
    text = "the quick brown fox jumps over the lazy dog " * 20_000
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    took = 0.0
    while took < 0.3:  # a fast machine needs more than one call to be measured
        took += seconds_of(chunker, text)
    end = time.perf_counter()
    done.set()
    ticker.join()
    inside = [start, *(t for t in ticks if start <= t <= end), end]
    longest_pause = max(b - a for a, b in pairwise(inside))
    assert longest_pause < max(0.1, 0.5 * (end - start)), f"paused {longest_pause:.2f} s of {end - start:.2f} s"


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    chunker = Chunker(built("bert_like"), **LENGTHS)
    chunker(TEXTS)
    list(chunker.stream(TEXTS, max_rows=5))
    chunker.explain()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_an_interrupt_reaches_a_stream() -> None:
    def interrupted() -> Any:
        yield from TEXTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Chunker(built("bert_like"), **LENGTHS).stream(interrupted(), max_rows=8))
