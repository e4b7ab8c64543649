"""The measuring process: one package, one tokenizer, a few calls. ``runs.py`` starts it anew for every measurement.

It runs in the environment of the package it measures, so it uses the standard library only.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speed.peers import PEERS, Peer


class Clock:
    """Seconds of named steps: on the wall, and of processor time over all threads of the process; of that, what the system took."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self.system: dict[str, float] = {}

    def time(self, step: str, call: Callable[[], Any]) -> Any:
        """Call, and note how long it took under ``step``."""
        gc.collect()  # what earlier steps left behind is theirs
        wall, processor, system = time.perf_counter(), time.process_time(), system_seconds()
        result = call()
        self.system[step] = system_seconds() - system
        self.processor[step] = time.process_time() - processor
        self.wall[step] = time.perf_counter() - wall
        return result


def system_seconds() -> float:
    """Processor time of this process that the system took."""
    if importlib.util.find_spec("resource") is None:
        return os.times().system
    usage = importlib.import_module("resource")
    return float(usage.getrusage(usage.RUSAGE_SELF).ru_stime)


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


def measure(kind: type[Peer], job: dict[str, Any]) -> dict[str, Any]:
    clock = Clock()
    texts = json.loads(Path(job["documents"]).read_text("utf-8"))
    texts["repeat"] = texts["cold"]
    clock.time("import", lambda: [importlib.import_module(module) for module in kind.imports])
    peer = clock.time("load", lambda: kind(Path(job["tokenizer"]), job["n_threads"]))
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
