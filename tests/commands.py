"""Runs of the command line: what one gave, which the fixture ``run`` makes, and how to start one as a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx import cli


@dataclass(frozen=True)
class Outcome:
    """Exit status, and what stood on standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of standard output, each as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Outcome]
"""Takes the arguments of the command line."""

SOURCE_FOLDER = str(Path(cli.__file__).resolve().parents[1])
WORDS = ["good", "bad", "film", "plot", "the", "a", "was", "."]
LONG_TEXT = "the film was good . " * 40 + "the plot was bad ."


def environment(**variables: str) -> dict[str, str]:
    """Variables for a process that runs the code of this folder, in a terminal of a known width."""
    return {**os.environ, "PYTHONPATH": SOURCE_FOLDER, "TERM": "xterm", "COLUMNS": "150", **variables}


def command(*arguments: object) -> list[str]:
    """The command line with these arguments, as ``subprocess`` takes it."""
    return [sys.executable, "-m", "longctx.cli", *(str(argument) for argument in arguments)]
