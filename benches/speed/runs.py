"""Starts the measuring processes, in rounds, and gathers what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speed.corpora import ROOT, definition_of
from speed.peers import PEERS

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
    python = interpreter(peer)
    if not python.exists():
        return {"refused": "not installed: make bench-peers"}
    job = {
        "peer": peer,
        "tokenizer": str(definition_of(tokenizer)),
        "documents": str(documents),
        "phases": settings.phases,
        "cores": settings.cores,
        "n_threads": settings.n_threads,
        "n_bytes_woken": settings.n_bytes_woken,
    }
    command = [str(python), "-m", "speed.worker", json.dumps(job)]
    variables = environment_variables(peer, settings.n_threads)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=settings.limit_seconds)
    except subprocess.TimeoutExpired:
        return {"refused": f"not done after {settings.limit_seconds} s"}
    if done.returncode != 0:
        return {"refused": f"exit {done.returncode}: {done.stderr.strip()[-200:]}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ask_undisturbed(peer: str, tokenizer: str, documents: Path, settings: Settings) -> dict[str, Any]:
    """Ask, and again where the host of a virtual machine took its cores meanwhile: that is not the package's time.

    ``disturbed`` in the answer has the wall times of those that do not count. After ``MOST_DISTURBED`` the next one counts anyway.
    """
    disturbed: list[dict[str, float]] = []
    while True:
        answer = ask(peer, tokenizer, documents, settings)
        was_alone = "refused" in answer or not any(answer["stolen"][phase] for phase in settings.phases)
        if was_alone or len(disturbed) == MOST_DISTURBED:
            return {**answer, "disturbed": disturbed}
        disturbed.append(answer["wall"])


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
