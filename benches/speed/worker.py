"""The measuring process: one package, one tokenizer, a few calls. ``runs.py`` starts it anew for every measurement.

It runs in the environment of the package it measures, so it uses the standard library only.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from speed.peers import PEERS, Peer

READY = "ready\n"  # printed when a process has loaded; it goes on when its input ends
SETTLING_SECONDS, SETTLED_SHARE = 0.02, 0.05  # how long is looked at a time, and how much of it may be processor time
REPORTING_SECONDS = 3  # Linux waits for two before it tells a host what is free


class Clock:
    """Seconds of named steps: on the wall, and of processor time over all threads of the process; of that, what the system took.

    And what the host of a virtual machine took of its cores for something else.
    """

    def __init__(self) -> None:
        self.stolen: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self.system: dict[str, float] = {}

    def time(self, step: str, call: Callable[[], Any]) -> Any:
        """Call, and note how long it took under ``step``."""
        gc.collect()  # what earlier steps left behind is theirs
        stolen = stolen_seconds()
        wall, processor, system = time.perf_counter(), time.process_time(), system_seconds()
        result = call()
        self.system[step] = system_seconds() - system
        self.processor[step] = time.process_time() - processor
        self.wall[step] = time.perf_counter() - wall
        self.stolen[step] = stolen_seconds() - stolen
        return result


def system_seconds() -> float:
    """Processor time of this process that the system took."""
    if importlib.util.find_spec("resource") is None:
        return os.times().system
    usage = importlib.import_module("resource")
    return float(usage.getrusage(usage.RUSAGE_SELF).ru_stime)


def stolen_seconds() -> float:
    """Give the time of this process's cores that hosts took since the start; 0 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    cores = (line.split() for line in stat.read_text("ascii").splitlines())
    return sum(int(fields[8]) for fields in cores if fields[0] in names) / os.sysconf("SC_CLK_TCK")


def pin(cores: list[int]) -> None:
    """Before anything is imported, so that thread pools see only these cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def reset_peak() -> None:
    """Let the peak of resident memory start again from what is resident now."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5", "ascii")


def resident_bytes(field: str) -> int | None:
    """``VmRSS`` or ``VmHWM`` (its peak) of this process; None where the system has no ``/proc``.

    Not ``ru_maxrss``, which a process inherits from its parent.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text("ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def settle() -> None:
    """Wait until the threads that imports and loading have started are at rest.

    NumPy's OpenBLAS starts as many as it may use, and they wait busily for their first work for a tenth of a second: with two cores, one
    of the two that a first call is to be measured on.
    """
    busy = 1.0
    for _ in range(100):
        if busy < SETTLED_SHARE:
            return
        before = time.process_time()
        time.sleep(SETTLING_SECONDS)
        busy = (time.process_time() - before) / SETTLING_SECONDS


def wake_memory(n_bytes: int, texts: Iterable[str]) -> None:
    """Touch so much memory, in huge pages, and free it, and read the texts, so that what is measured next finds memory that is there.

    Hosts of virtual machines take memory back when the system has told them that it is free ("free page reporting"). The next touch of it
    takes 2.5 s for each GB, thirteen times as long as the system's clearing. And taking it back is work that the host may charge to the
    machine, whose cores it halts then if all of them are busy: by 50 ms each, in calls of 150. So the system first gets the time to tell
    it of what is free already, and then what is measured has two seconds.

    Hosts take away what is in use, too, where nobody has come to it for seconds: the next reading of 100 MB of text then took up to 200 ms
    instead of 10.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    time.sleep(REPORTING_SECONDS)
    with mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        with suppress(OSError):  # a system without huge pages; then others are touched
            memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, n_bytes, mmap.PAGESIZE):
            memory[at] = 1
    for text in texts:
        text.count("\0")


def measure(kind: type[Peer], job: dict[str, Any]) -> dict[str, Any]:
    clock = Clock()
    texts = json.loads(Path(job["documents"]).read_text("utf-8"))
    texts["repeat"] = texts["cold"]
    clock.time("import", lambda: [importlib.import_module(module) for module in kind.imports])
    if job["n_bytes_woken"]:  # before loading: what it makes would be left alone meanwhile, and taken away as well
        wake_memory(job["n_bytes_woken"], chain.from_iterable(texts.values()))
    peer = clock.time("load", lambda: kind(Path(job["tokenizer"]), job["n_threads"]))
    settle()
    print(f"\n{READY}", end="", flush=True)  # in a line of its own, whatever the package has printed
    sys.stdin.read()
    reset_peak()
    before, amounts = resident_bytes("VmRSS"), {}
    for phase in job["phases"]:
        result = clock.time(phase, partial(peer, texts[phase]))
        amounts[phase] = peer.amounts(result)
        del result
    return {
        "wall": {step: round(seconds, 6) for step, seconds in clock.wall.items()},
        "processor": {step: round(seconds, 6) for step, seconds in clock.processor.items()},
        "system": {step: round(seconds, 6) for step, seconds in clock.system.items()},
        "stolen": {step: round(seconds, 6) for step, seconds in clock.stolen.items()},
        "amounts": amounts,
        "bytes": {phase: sum(len(document.encode()) for document in texts[phase]) for phase in job["phases"]},
        "memory": {"before": before, "peak": resident_bytes("VmHWM")},
        "version": version(kind.package),
    }


def main() -> None:
    """Read a job from the command line; print what was measured, or ``{"refused": reason}``, as the last line."""
    job = json.loads(sys.argv[1])
    pin(job["cores"])
    try:
        found = measure(PEERS[job["peer"]], job)
    except Exception as error:  # whatever a package has against a tokenizer is the finding
        found = {"refused": f"{type(error).__name__}: {error}".replace("\n", " ")[:200]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
