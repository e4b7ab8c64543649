"""Four long documents whose second half decides: the whole text read, beside its first 512 tokens.

Run with ``python examples/demo.py``. It needs no network and no GPU (``pip install "longctx[minilm]"``) and writes
``report.html`` into the current folder. The documents are invented, and were written so that their beginning misleads;
the labels were worded with the documents at hand. The demo shows what reading everything is for. It measures nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import longctx
from longctx.nn.embedding import minilm_folder

FOLDER = Path(__file__).resolve().parent
REPORT = Path("report.html")
HEAD_TOKENS = 512
PASSAGE_CHARS = 300

CASES: dict[str, dict[str, str]] = {
    "contract.txt": {
        "ordinary terms": "Ordinary terms for services and fees.",
        "unlimited liability": "Unlimited liability, uncapped penalties and automatic renewal.",
    },
    "review.txt": {
        "recommended": "Love it, highly recommended.",
        "dangerous": "Dangerous defect, refund demanded.",
    },
    "dialogue.txt": {
        "billing": "A question about an invoice or a payment.",
        "delivery": "A question about a delivery.",
        "data breach": "The customer cancels the account because of a data breach.",
    },
    "earnings_call.txt": {
        "strong growth": "Strong growth and record revenue.",
        "guidance cut": "Guidance cut, restructuring and layoffs.",
    },
}


@dataclass(frozen=True)
class Reading:
    """One document, read whole and read only at its beginning."""

    name: str
    whole: longctx.Prediction
    head: longctx.Prediction


def cut_head(document: str) -> str:
    """Keep what truncation keeps: the text of one row of 512 tokens, special tokens included."""
    chunker = longctx.Chunker(minilm_folder(), max_tokens=HEAD_TOKENS, overlap_tokens=0, select="head", max_chunks=1)
    return document[: chunker(document).char_spans[0, 1]]


def read(name: str, labels: dict[str, str]) -> Reading:
    """Classify one document twice with the same model and labels: all of it, and its first 512 tokens."""
    classifier = longctx.LongDocumentClassifier.from_pretrained(labels=labels)
    document = (FOLDER / name).read_text(encoding="utf-8")
    whole, head = classifier([document, cut_head(document)])
    return Reading(name, whole, head)


def decision(prediction: longctx.Prediction) -> Text:
    """Write the label with its probability, then the other labels."""
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    (label, probability), *others = ranked
    rest = "".join(f"\n{other} {value:.2f}" for other, value in others)
    return Text.assemble((f"{label} {probability:.2f}", "bold"), (rest, "dim"))


def coverage(prediction: longctx.Prediction) -> str:
    """Say how much of its text the model read."""
    read_part = prediction.coverage
    return f"{read_part.tokens_read:,} of {read_part.tokens:,} tokens\n{read_part.chunks_read} chunks"


def comparison(reading: Reading) -> Table:
    """Set the whole text and its beginning side by side."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column("the whole document", style="green")
    table.add_column(f"only the first {HEAD_TOKENS} tokens", style="yellow")
    table.add_row("decision", decision(reading.whole), decision(reading.head))
    unread = reading.whole.coverage.tokens - reading.head.coverage.tokens
    table.add_row("read", coverage(reading.whole), f"{coverage(reading.head)}, {unread:,} tokens cut off")
    return table


def passage(prediction: longctx.Prediction) -> Text:
    """Quote the beginning of the chunk that counted most, and say where it stands."""
    chunk = prediction.decisive
    start, end = chunk.char_span
    quote = " ".join(chunk.text[:PASSAGE_CHARS].split())
    return Text.assemble((f"decided by characters {start:,}-{end:,}: ", "dim"), (f"{quote} ...", "italic"))


def show(console: Console, reading: Reading) -> None:
    """Print one document's panel."""
    grid = Table.grid(padding=(0, 0, 1, 0))
    grid.add_row(comparison(reading))
    grid.add_row(passage(reading.whole))
    console.print(Panel(grid, title=reading.name, title_align="left"))


def main() -> None:
    """Read the four documents, print them, write the report."""
    console = Console()
    started = time.perf_counter()
    readings = [read(name, labels) for name, labels in CASES.items()]
    seconds = time.perf_counter() - started
    for reading in readings:
        show(console, reading)
    n_changed = sum(reading.whole.label != reading.head.label for reading in readings)
    n_tokens = sum(reading.whole.coverage.tokens_read for reading in readings)
    longctx.Predictions([reading.whole for reading in readings]).to_html(REPORT)
    console.print(f"{n_changed} of {len(readings)} decisions differ from those of the first {HEAD_TOKENS} tokens")
    console.print(f"{len(readings)} documents, {n_tokens:,} tokens, {seconds:.1f} s; wrote {REPORT}")


if __name__ == "__main__":
    main()
