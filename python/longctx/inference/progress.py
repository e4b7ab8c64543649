"""A progress bar on stderr, and none where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from longctx.errors import ConfigError


class Advance(Protocol):
    """Called with the number of documents that are done since the last call."""

    def __call__(self, n_documents: int, /) -> None:
        """Move the bar on."""


@contextmanager
def document_progress(progress: bool | str, n_documents: int | None) -> Iterator[Advance]:
    """Show documents done, of how many where that is known; ``"auto"`` show it only on a terminal.

    Raises:
        ConfigError: ``progress`` is neither "auto" nor True nor False.
    """
    if progress not in ("auto", True, False):
        raise ConfigError(f"progress={progress!r}: use 'auto', True or False.")
    if progress is False or (progress == "auto" and (sys.stderr is None or not sys.stderr.isatty())):
        yield lambda _: None
        return
    with _bar() as bar:
        task = bar.add_task("classifying", total=n_documents)
        yield lambda n_done: bar.advance(task, n_done)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
