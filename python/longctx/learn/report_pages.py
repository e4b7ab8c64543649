"""A report's tables, as Markdown and, with its pictures, as HTML."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from longctx.explain.report import page, styled
from longctx.learn.pictures import confusion_picture, reliability_picture, slices_picture

if TYPE_CHECKING:
    from longctx.learn.intervals import Interval
    from longctx.learn.report import Report
    from longctx.learn.slices import Slice

_UNDEFINED = "-"


@dataclass(frozen=True, slots=True)
class _Table:
    """Text in rows; the first column names them."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def markdown(report: Report) -> str:
    """Write the tables as Markdown."""
    parts = [f"# {_markdown_cell(report.title)}", f"{report.n_documents:,} documents. Brackets: 95 % bootstrap intervals."]
    return "\n\n".join([*parts, *map(_markdown_table, _tables(report))]) + "\n"


def page_html(report: Report) -> str:
    """Build a whole page."""
    return page(notebook_html(report), title=report.title)


def notebook_html(report: Report) -> str:
    """Build the same for a notebook cell."""
    head = f"<h1>{escape(report.title)}</h1><p>{report.n_documents:,} documents. Brackets: 95 % bootstrap intervals.</p>"
    first, *rest = map(_html_table, _tables(report))
    return styled(head + first + "".join(_pictures(report)) + "".join(rest))


def _tables(report: Report) -> Iterator[_Table]:
    names = list(report.intervals)
    models = {"this model": report.intervals} | {name: control["intervals"] for name, control in report.controls.items()}
    yield _interval_table("Beside the controls" if report.controls else "In short", names, models)
    if report.controls:
        differences = {name: control["difference"] for name, control in report.controls.items()}
        yield _interval_table("This model minus each control, on the same documents", names, differences)
    yield from _slice_tables(report)
    yield _Table("All metrics", ("metric", "value"), [(name, _number(value)) for name, value in _all_metrics(report).items()])
    columns = list(next(iter(report.per_class.values())))
    heading = "Values" if report.problem == "regression" else "Classes"
    yield _Table(heading, ("label", *columns), [(label, *map(_number, row.values())) for label, row in report.per_class.items()])


def _interval_table(heading: str, names: Sequence[str], rows: Mapping[str, Mapping[str, Interval]]) -> _Table:
    return _Table(heading, ("", *names), [(row, *(str(cells.get(name, _UNDEFINED)) for name in names)) for row, cells in rows.items()])


def _slice_tables(report: Report) -> Iterator[_Table]:
    for heading, slices in (("By length", report.by_length), ("By place of the evidence", report.by_evidence)):
        if slices:
            rows = [(part.name, f"{part.n_documents:,}", *map(_number, part.metrics.values())) for part in slices]
            yield _Table(heading, ("", "documents", *slices[0].metrics), rows)


def _all_metrics(report: Report) -> dict[str, float | None]:
    if report.calibration is None:
        return report.metrics
    return report.metrics | {"expected calibration error": report.calibration.expected_error, "Brier score": report.calibration.brier}


def _number(value: float | None) -> str:
    if value is None:
        return _UNDEFINED
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _markdown_table(table: _Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join([f"## {table.heading}\n", *("| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows)])


def _markdown_cell(text: str) -> str:
    """Keep a name in its cell, whatever characters it has."""
    return escape(" ".join(text.split()), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def _html_table(table: _Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<details open><summary>{escape(table.heading)}</summary><table><tr>{head}</tr>{rows}</table></details>"


def _pictures(report: Report) -> Iterator[str]:
    if report.by_length:
        yield _picture(slices_picture(report.by_length), f"By length: {_slices_in_words(report.by_length)}")
    if report.calibration is not None:
        error = f"Accuracy over confidence: the expected calibration error is {report.calibration.expected_error:.3f}"
        yield _picture(reliability_picture(report.calibration), error)
    if report.confusion is not None:
        right = f"{report.confusion.trace():,} of {report.n_documents:,} documents lie on the diagonal"
        yield _picture(confusion_picture(report.confusion, report.labels), f"Decision over truth: {right}")


def _slices_in_words(slices: Sequence[Slice]) -> str:
    metric = next(iter(slices[0].metrics))
    return f"{metric} of " + ", ".join(f"{part.name} {part.metrics[metric]:.3f}" for part in slices)


def _picture(png: bytes, caption: str) -> str:
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
