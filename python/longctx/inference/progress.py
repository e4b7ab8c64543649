"""A progress bar on stderr, and none where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from longctx.errors import ConfigError


class Progress(Protocol):
    """Told what is done since it was last told."""

    def chunks_read(self, n_chunks: int) -> None:
        """Count chunks that the model has read: what moves while one long document is worked on."""

    def documents_done(self, n_documents: int) -> None:
        """Count documents that are decided."""


class _Hidden:
    def chunks_read(self, n_chunks: int) -> None: ...

    def documents_done(self, n_documents: int) -> None: ...


class _Bar:
    def __init__(self, bar: Any, n_documents: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("classifying", total=n_documents, chunks=0)
        self._n_chunks = 0

    def chunks_read(self, n_chunks: int) -> None:
        self._n_chunks += n_chunks
        self._bar.update(self._task, chunks=self._n_chunks)

    def documents_done(self, n_documents: int) -> None:
        self._bar.advance(self._task, n_documents)


HIDDEN: Progress = _Hidden()
"""For those who want none."""


@contextmanager
def document_progress(progress: bool | str, n_documents: int | None) -> Iterator[Progress]:
    """Show documents done, of how many where that is known, and chunks read; ``"auto"`` shows it only on a terminal.

    Raises:
        ConfigError: ``progress`` is neither "auto" nor True nor False.
    """
    if progress not in ("auto", True, False):
        raise ConfigError(f"progress={progress!r}: use 'auto', True or False.")
    if progress is False or (progress == "auto" and (sys.stderr is None or not sys.stderr.isatty())):
        yield HIDDEN
        return
    with _new_bar() as bar:
        yield _Bar(bar, n_documents)


def _new_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    chunks = TextColumn("{task.fields[chunks]:,} chunks read")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), chunks, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
