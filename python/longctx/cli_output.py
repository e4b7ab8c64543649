"""What the command line shows: result groups, tables for a terminal, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from longctx.data.sources import SourceDocument
from longctx.data.writers import open_writer

if TYPE_CHECKING:
    import pyarrow as pa

    from longctx.batch import ChunkBatch
    from longctx.results import Prediction, Predictions

_MAX_TABLE_ROWS = 100
_PASSAGE_CHARS = 80
_FILE_WIDTH_CHARS = 160  # of a table that is redirected; a terminal knows its own width


@dataclass(frozen=True, slots=True)
class PredictionGroup:
    """Documents and their predictions, in the same order."""

    documents: Sequence[SourceDocument]
    predictions: Predictions

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Where the document came from, then ``Prediction.to_dict()``."""
        for document, prediction in zip(self.documents, self.predictions, strict=True):
            yield {"id": document.id, "source": document.source, "row": document.row, **prediction.to_dict()}

    def table(self) -> pa.Table:
        """Put id, source and row before the columns of ``Predictions.to_arrow()``."""
        import pyarrow as pa

        table = self.predictions.to_arrow()
        rows = pa.array([document.row for document in self.documents], pa.int64())
        table = table.add_column(0, "row", rows)
        table = table.add_column(0, "source", pa.array([document.source for document in self.documents], pa.string()))
        return table.add_column(0, "id", pa.array([document.id for document in self.documents], pa.string()))

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Rows for a terminal: document, label, score, tokens read, decisive passage."""
        for document, prediction in zip(self.documents, self.predictions, strict=True):
            passage = " ".join(prediction.decisive.text.split())
            score = f"{prediction.score:.3f}"
            yield document.id, _label_text(prediction), score, _read_text(prediction), passage[:_PASSAGE_CHARS]


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """Documents and the batch that holds all their chunks."""

    documents: Sequence[SourceDocument]
    batch: ChunkBatch

    def records(self) -> Iterator[Mapping[str, Any]]:
        """One mapping a chunk: id, number within its document from 0, spans, text."""
        chunk = -1
        before = -1
        spans = zip(self.batch.document_index, self.batch.token_spans, self.batch.char_spans, strict=True)
        for index, token_span, char_span in spans:
            chunk = chunk + 1 if index == before else 0
            before = index
            document = self.documents[int(index)]
            start, end = (int(position) for position in char_span)
            token_start, token_end = (int(position) for position in token_span)
            yield {
                "id": document.id,
                "chunk": chunk,
                "token_span": (token_start, token_end),
                "char_span": (start, end),
                "text": document.text[start:end],
            }

    def table(self) -> pa.Table:
        """Give the same as Arrow columns; spans are lists of two."""
        import pyarrow as pa

        span = pa.list_(pa.int64(), 2)
        columns = [("id", pa.string()), ("chunk", pa.int64()), ("token_span", span), ("char_span", span)]
        schema = pa.schema([*columns, ("text", pa.string())])
        return pa.Table.from_pylist([dict(record) for record in self.records()], schema=schema)

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Rows for a terminal: document, characters, tokens, chunks."""
        for document, coverage in zip(self.documents, self.batch.coverage, strict=True):
            yield document.id, f"{len(document.text):,}", f"{coverage.tokens:,}", f"{coverage.chunks:,}"


CellGroup = PredictionGroup | ChunkGroup
_NUMBERS = frozenset({"score", "characters", "tokens", "chunks"})


def emit(groups: Iterable[CellGroup], *, output: Path | None, columns: Sequence[str], doing: str, done: Callable[[], None]) -> None:
    """Send result groups where they belong: a file, a table on a terminal, JSON Lines on a pipe.

    Args:
        groups: results as they are made.
        output: file to write; None for standard output.
        columns: headings of the table.
        doing: verb for the progress line, like "classified".
        done: called once all groups are written, before a table is shown.
    """
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        rows, n_rows = _first_rows(with_progress(groups, doing=doing))
        done()
        print_table(columns, rows, n_rows=n_rows)
        return
    n_documents = 0
    with open_writer(output) as writer:
        for group in with_progress(groups, doing=doing):
            writer.write(group)
            n_documents += len(group.documents)
    done()
    if output is not None:
        say(f"{doing} {counted(n_documents)} -> {output}")


def _first_rows(groups: Iterable[CellGroup]) -> tuple[list[tuple[str, ...]], int]:
    rows: list[tuple[str, ...]] = []
    n_rows = 0
    for group in groups:
        for cells in group.cells():
            n_rows += 1
            if len(rows) < _MAX_TABLE_ROWS:
                rows.append(cells)
    return rows, n_rows


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, n_rows: int = 0) -> None:
    """Show rows on standard output; says how many of ``n_rows`` are not shown."""
    table = Table(*(_heading(name) for name in columns), box=None, pad_edge=False)
    n_shown = 0
    for cells in rows:
        table.add_row(*(printable(cell) for cell in cells))
        n_shown += 1
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH_CHARS)
    console.print(table)
    if n_rows > n_shown:
        console.print(f"... and {n_rows - n_shown:,} more; --output results.jsonl keeps them all", markup=False, highlight=False)


def _heading(name: str) -> Any:
    from rich.table import Column

    return Column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")


def printable(text: str) -> Text:
    """User text without markup, control characters or terminal escapes."""
    return Text("".join(character if character.isprintable() else "\N{MIDDLE DOT}" for character in text))


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    layout = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*layout, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("starting")
        yield lambda n: progress.update(task, description=f"{doing} {counted(n)}")


def with_progress(groups: Iterable[CellGroup], *, doing: str) -> Iterator[CellGroup]:
    """Hand groups on and count their documents on stderr, where that is a terminal."""
    n_documents = 0
    with _progress(doing) as show:
        for group in groups:
            n_documents += len(group.documents)
            show(n_documents)
            yield group


def counted(n_documents: int) -> str:
    """Write a number of documents in words that fit it."""
    return f"{n_documents:,} document{'' if n_documents == 1 else 's'}"


def say(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(" ".join(message.splitlines()) + "\n")


def _label_text(prediction: Prediction) -> str:
    label = prediction.label
    if isinstance(label, list):
        return ", ".join(str(part) for part in label) or "(none)"
    return f"{label:.4g}" if isinstance(label, float) else label


def _read_text(prediction: Prediction) -> str:
    coverage = prediction.coverage
    if coverage.complete:
        return f"{coverage.tokens:,}"
    return f"{coverage.tokens_read:,} of {coverage.tokens:,} ({coverage.reason})"
