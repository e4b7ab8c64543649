"""From measured cells to a results file, a table and ratios."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from speed.corpora import ROOT
from speed.peers import PEERS
from speed.runs import PHASES, Cell, Settings

RESULTS = ROOT / "benches" / "results"
OWN = "longctx"
FEW = 0.99  # of the tokens longctx gives: a package that gives fewer did less work
SHARED = 1.1  # wall time over processor time; above it, other work ran on the core


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text("utf-8")) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def machine_file(prefix: str) -> Path:
    """Where the results of a complete run belong."""
    slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return RESULTS / f"{prefix}-{slug}-{os.cpu_count()}-cores.json"


def amount(cell: Cell, own: Cell) -> float | None:
    """How much came out, over both texts, relative to what longctx gave in the unit both know."""
    theirs, ours = cell.rounds[0]["amounts"], own.rounds[0]["amounts"]
    unit = next(iter(theirs["cold"]))
    total = sum(ours[phase][unit] for phase in ("cold", "steady"))
    return sum(theirs[phase][unit] for phase in ("cold", "steady")) / total if total else None


def mb_per_s(answer: dict[str, Any], phase: str) -> float:
    return float(answer["bytes"][phase] / answer["processor"][phase] / 1e6)


def summary(cell: Cell, own: Cell) -> dict[str, Any]:
    """Medians over the rounds. ``ratio`` is how many times as fast longctx was, the median of the rounds' ratios."""
    if cell.refused:
        return {}
    rounds = cell.rounds
    found = {
        "load_ms": round(median(answer["processor"]["load"] for answer in rounds) * 1e3, 1),
        "mb_per_s": {phase: round(median(mb_per_s(answer, phase) for answer in rounds), 3) for phase in PHASES},
        "peak_mb": round(median(answer["memory"]["peak"] or 0 for answer in rounds) / 1e6),
    }
    if not own.refused:
        pairs = list(zip(rounds, own.rounds, strict=True))
        found["ratio"] = {phase: round(median(a["processor"][phase] / b["processor"][phase] for a, b in pairs), 3) for phase in PHASES}
        found["amount"] = amount(cell, own)
    return found


def groups(cells: list[Cell]) -> Iterator[tuple[str, str, list[Cell]]]:
    """Group the cells by text and tokenizer, in the order they were measured."""
    for (text, tokenizer), members in groupby(cells, key=lambda cell: (cell.text, cell.tokenizer)):
        yield text, tokenizer, list(members)


def results(cells: list[Cell], settings: Settings) -> dict[str, Any]:
    """All that was measured, raw, with its summary and where it was measured."""
    rows = []
    for _, _, members in groups(cells):
        own = next(cell for cell in members if cell.peer == OWN)
        rows += [{**asdict(cell), "product": PEERS[cell.peer].product, "summary": summary(cell, own)} for cell in members]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "settings": asdict(settings),
        "versions": {cell.peer: cell.rounds[0]["version"] for cell in cells if cell.rounds},
        "cells": rows,
    }


def one_a_line(value: Any) -> str:
    """JSON with a line for each item of a list, so that two runs can be compared by eye."""
    return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if isinstance(value, list) else json.dumps(value)


def write(found: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = ",\n".join(f" {json.dumps(key)}: {one_a_line(value)}" for key, value in found.items())
    path.write_text(f"{{\n{fields}\n}}\n", "utf-8")
    print(f"\nwritten: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


HEADER = f"{'':30} {'load':>8} {'cold':>8} {'steady':>8} {'(repeat)':>8}   {'longctx is':>14}   {'amount':>6}"
UNITS = f"{'':30} {'ms':>8} {'MB/s':>8} {'MB/s':>8} {'MB/s':>8}   {'cold':>6}  {'steady':>6}"


def line(cell: Cell, own: Cell) -> str:
    name = f"{cell.peer} ({PEERS[cell.peer].product})"
    if cell.refused:
        return f"{cell.peer:30} refused: {cell.refused[:110]}"
    found = summary(cell, own)
    speeds = "".join(f" {found['mb_per_s'][phase]:8.1f}" for phase in PHASES)
    if "ratio" not in found:
        return f"{name:30} {found['load_ms']:8.0f}{speeds}"
    ratios = f"{found['ratio']['cold']:5.2f}x {found['ratio']['steady']:6.2f}x"
    share = found["amount"]
    remark = "" if share is None else f"   {share:6.4f}" + (" FEWER" if share < FEW and not PEERS[cell.peer].is_splitter else "")
    return f"{name:30} {found['load_ms']:8.0f}{speeds}   {ratios}{remark}"


def table(cells: list[Cell]) -> str:
    """Lines for one text and tokenizer."""
    own = next(cell for cell in cells if cell.peer == OWN)
    lines = [f"\n{cells[0].text}, {cells[0].tokenizer}", HEADER, UNITS, *(line(cell, own) for cell in cells)]
    answers = [answer for cell in cells for answer in cell.rounds]
    shared = median(answer["wall"]["steady"] / answer["processor"]["steady"] for answer in answers) if answers else 1
    if shared > SHARED:
        lines.append(f"(other work ran on this core: wall time was {shared:.1f} times the processor time used here)")
    return "\n".join(lines)


def scaling(peer: str, tokenizer: str, n_threads: int, rounds: list[list[list[dict[str, Any]]]]) -> str:
    """Lines for one package: wall time with one thread, with ``n_threads``, and with as many processes of one thread side by side.

    A round has the answers of these three. Ratios are medians of the rounds': how much more is read in the same time than with one thread.
    In the first call of a process threads learn the words of the text, which they know in later ones.
    """
    refusals = [answer["refused"] for ways in rounds for answers in ways for answer in answers if "refused" in answer]
    name = f"{tokenizer:30} {peer:20}"
    if refusals:
        return f"{name} {refusals[0]}"
    lines = [f"{name} {_scaled(phase, what, n_threads, rounds)}" for phase, what in (("cold", "first call"), ("repeat", "again"))]
    idle = median(one["wall"]["cold"] / one["processor"]["cold"] for [one], *_ in rounds)
    if idle > SHARED:
        lines.append(f"(other work ran: one thread waited for its core, {idle:.1f}x)")
    n_disturbed = [sum(len(ways[i][0]["disturbed"]) for ways in rounds) for i in range(3)]
    if any(n_disturbed):
        what = f"one thread {n_disturbed[0]}, {n_threads} threads {n_disturbed[1]}, processes {n_disturbed[2]} times"
        lines.append(f"(measured again, since the host took cores: {what})")
    return "\n".join(lines)


def _scaled(phase: str, what: str, n_threads: int, rounds: list[list[list[dict[str, Any]]]]) -> str:
    one, many, apart = ([max(answer["wall"][phase] for answer in ways[i]) for ways in rounds] for i in range(3))
    by_threads = median(first / second for first, second in zip(one, many, strict=True))
    n_processes = len(rounds[0][2])
    by_processes = median(n_processes * first / second for first, second in zip(one, apart, strict=True))
    return (
        f"{what:10}: 1 thread {median(one):5.2f} s, {n_threads} threads {median(many):5.2f} s, {by_threads:5.2f}x   "
        f"{n_processes} processes {median(apart):5.2f} s, {by_processes:5.2f}x"
    )
