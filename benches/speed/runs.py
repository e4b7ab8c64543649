"""Starts the measuring processes, in rounds, and gathers what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import IO, Any

from speed.corpora import ROOT, definition_of
from speed.peers import PEERS
from speed.worker import READY

PHASES = ("cold", "steady", "repeat")
MOST_DISTURBED = 5
ENVIRONMENTS = ROOT / ".bench"


@dataclass(frozen=True, slots=True)
class Settings:
    """How every process of a run is started."""

    n_rounds: int
    cores: list[int]
    n_threads: int = 1
    phases: tuple[str, ...] = PHASES
    limit_seconds: int = 900
    n_bytes_woken: int = 0  # memory that is touched before the first call


@dataclass(slots=True)
class Cell:
    """One package on one tokenizer and text: the answers of its processes, one a round, or why there are none."""

    peer: str
    tokenizer: str
    text: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    refused: str | None = None


def interpreter(peer: str) -> Path:
    environment = PEERS[peer].environment
    if environment == "own":
        return Path(sys.executable)
    return ENVIRONMENTS / environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment_variables(peer: str, n_threads: int) -> dict[str, str]:
    """One thread pool size for every library that reads one, and the benches importable; a peer sees no other path of ours."""
    names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    own_paths = os.environ.get("PYTHONPATH", "") if PEERS[peer].environment == "own" else ""
    return {
        **os.environ,
        **dict.fromkeys(names, str(n_threads)),
        "TOKENIZERS_PARALLELISM": "true" if n_threads > 1 else "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "benches"), own_paths])),
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
    }


def ask(peer: str, tokenizer: str, documents: Path, settings: Settings) -> dict[str, Any]:
    """Run one measuring process to its end. A crash, a time-out and a missing package are answers too: ``{"refused": why}``."""
    return ask_together(peer, tokenizer, documents, [settings])[0]


def ask_together(peer: str, tokenizer: str, documents: Path, all_settings: list[Settings]) -> list[dict[str, Any]]:
    """Do the same with several processes, whose calls begin when all of them have loaded."""
    if not interpreter(peer).exists():
        return [{"refused": "not installed: make bench-peers"}] * len(all_settings)
    with ExitStack() as running:
        processes = [running.enter_context(measuring_process(peer, tokenizer, documents, settings)) for settings in all_settings]
        for process in processes:
            process.wait_until_loaded()
        for process in processes:
            process.begin()
        return [process.answer() for process in processes]


@contextmanager
def measuring_process(peer: str, tokenizer: str, documents: Path, settings: Settings) -> Iterator[MeasuringProcess]:
    """Start one, and kill it after its time, or in the end."""
    job = {
        "peer": peer,
        "tokenizer": str(definition_of(tokenizer)),
        "documents": str(documents),
        "phases": settings.phases,
        "cores": settings.cores,
        "n_threads": settings.n_threads,
        "n_bytes_woken": settings.n_bytes_woken,
    }
    command = [str(interpreter(peer)), "-m", "speed.worker", json.dumps(job)]
    variables, pipe = environment_variables(peer, settings.n_threads), subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, encoding="utf-8", errors="replace", env=variables, start_new_session=True
        ) as process,
    ):
        measuring = MeasuringProcess(process, errors)
        timer = Timer(settings.limit_seconds, measuring.stop, [f"not done after {settings.limit_seconds} s"])
        timer.start()
        try:
            yield measuring
        finally:
            timer.cancel()
            measuring.stop()


@dataclass(slots=True)
class MeasuringProcess:
    """One that was started. It says when it has loaded, waits for the end of its input, makes its calls, and prints its answer last."""

    process: subprocess.Popen[str]
    errors: IO[str]
    why_stopped: str = ""
    last_line: str = ""

    def stop(self, why: str = "") -> None:
        """Kill it, if it runs, and what it has started itself, which may hold its output for longer."""
        if self.process.poll() is None:
            self.why_stopped = why
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):  # none of them runs
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()

    def wait_until_loaded(self) -> None:
        """Or until it has ended."""
        while (line := self._read_line()) and line != READY:
            pass

    def begin(self) -> None:
        """Let it make its calls."""
        if self.process.stdin:
            self.process.stdin.close()

    def answer(self) -> dict[str, Any]:
        """Wait for its end, and return what it measured or ``{"refused": why}``."""
        while self._read_line():
            pass
        code = self.process.wait()
        if self.why_stopped:
            return {"refused": self.why_stopped}
        if code == 0 and self.last_line.startswith("{"):
            return dict(json.loads(self.last_line))
        self.errors.seek(0)
        return {"refused": f"exit {code}: {self.errors.read().strip()[-200:]}"}

    def _read_line(self) -> str:
        line = str(self.process.stdout.readline()) if self.process.stdout else ""
        self.last_line = line or self.last_line
        return line


def ask_undisturbed(peer: str, tokenizer: str, documents: Path, all_settings: list[Settings]) -> list[dict[str, Any]]:
    """Do as :func:`ask_together`, and again where the host of a virtual machine took its cores meanwhile: that is not the package's time.

    ``disturbed`` in the answers has the wall times of those that do not count. After ``MOST_DISTURBED`` the next ones count anyway.
    """
    disturbed: list[list[dict[str, float]]] = []
    while True:
        answers = ask_together(peer, tokenizer, documents, all_settings)
        if any("refused" in answer for answer in answers):
            return [{**answer, "disturbed": []} for answer in answers]
        was_alone = not any(sum(answer["stolen"][phase] for phase in all_settings[0].phases) for answer in answers)
        if was_alone or len(disturbed) == MOST_DISTURBED:
            return [{**answer, "disturbed": [walls[i] for walls in disturbed]} for i, answer in enumerate(answers)]
        disturbed.append([answer["wall"] for answer in answers])


def measure(peers: list[str], tokenizer: str, text: str, documents: Path, settings: Settings) -> list[Cell]:
    """Measure ``peers`` on the same text, ``n_rounds`` times.

    A round asks each once, and the next begins one further on, so that a change of the machine's speed hits all alike.
    """
    cells = [Cell(peer, tokenizer, text) for peer in peers]
    for n_round in range(settings.n_rounds):
        first = n_round % len(cells)
        for cell in cells[first:] + cells[:first]:
            if cell.refused:
                continue
            answer = ask(cell.peer, tokenizer, documents, settings)
            cell.refused = answer.get("refused")
            if not cell.refused:
                cell.rounds.append(answer)
    return cells
