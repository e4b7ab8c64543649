"""Texts made to be slow, and whether speed per byte and memory hold on them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speed.corpora import write_long_document
from speed.report import mb_per_s
from speed.runs import Settings, ask

LEAST_MB_PER_S, MOST_TIMES_SLOWER = 20, 3  # the promise: one or the other
TAKEN_BYTES = 60  # for each byte of the longest text: more than longctx takes for the worst of these
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}\N{ZERO WIDTH JOINER}\N{BOY}"


def letters() -> str:
    """Make a million letters without order, so that neither a cache nor a repeated merge helps."""
    return "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))


def long_words() -> str:
    """Make words of 300 letters without order, each longer than a word cache keeps."""
    all_letters = letters()
    return " ".join(all_letters[i : i + 300] for i in range(0, len(all_letters), 300)) + " "


@dataclass(frozen=True, slots=True)
class Hostile:
    """A text made of one unit over and over."""

    megabytes: int
    unit: Callable[[], str]


KINDS = {
    "one word": Hostile(50, letters),
    "one letter": Hostile(50, lambda: "a"),
    "long words": Hostile(50, long_words),
    "combining marks": Hostile(10, lambda: "\N{COMBINING ACUTE ACCENT}"),
    "spaces": Hostile(10, lambda: " "),
    "joiners": Hostile(10, lambda: "\N{ZERO WIDTH JOINER}"),
    "families": Hostile(10, lambda: FAMILY),
    "alternating scripts": Hostile(10, lambda: "aжあ中αا"),
}


def write(unit: str, n_bytes: int, path: Path) -> None:
    text = (unit.encode() * (n_bytes // len(unit.encode()) + 1))[:n_bytes]
    path.write_text(json.dumps({"cold": [text.decode("utf-8", errors="ignore")]}), "utf-8")


def measured(peer: str, tokenizer: str, path: Path, settings: Settings) -> dict[str, Any]:
    """Give the answer of median speed of as many processes as there are rounds."""
    answers = []
    for _ in range(settings.n_rounds):
        answers.append(ask(peer, tokenizer, path, settings))
        if "refused" in answers[-1]:
            return answers[-1]
    return sorted(answers, key=lambda answer: mb_per_s(answer, "cold"))[len(answers) // 2]


def line(kind: str, answer: dict[str, Any], plain: dict[str, Any]) -> str:
    if "refused" in answer:
        return f"{kind:22} {answer['refused']}"
    own = mb_per_s(answer, "cold")
    system = f"{answer['system']['cold'] / answer['processor']['cold']:3.0%} of it in the system"
    memory = answer["memory"]
    peak = f"peak {memory['peak'] / 1e6:6.0f} MB, {memory['before'] / 1e6:4.0f} before" if memory["peak"] else ""
    if "refused" in plain:
        return f"{kind:22} {own:7.1f} MB/s, {system}   plain: {plain['refused']}   {peak}"
    usual = mb_per_s(plain, "cold")
    bound = min(LEAST_MB_PER_S, usual / MOST_TIMES_SLOWER)
    verdict = "ok" if own >= bound else "SLOW"
    return f"{kind:22} {own:7.1f} MB/s, {system}   {own / usual:5.2f} of plain text   {peak}   {verdict}"


def run(peer: str, tokenizer: str, folder: Path, settings: Settings, megabytes: int | None) -> list[dict[str, Any]]:
    """Measure one package on each kind and on plain text of the same length; print and return what was found."""
    print(f"\n{peer}, {tokenizer}", flush=True)
    path, plain, found = folder / "hostile.json", {}, []
    n_most = (megabytes or max(hostile.megabytes for hostile in KINDS.values())) * 1_000_000
    settings = replace(settings, n_bytes_woken=TAKEN_BYTES * n_most)
    for kind, hostile in KINDS.items():
        n_bytes = (megabytes or hostile.megabytes) * 1_000_000
        if n_bytes not in plain:
            write_long_document(path, n_bytes)
            plain[n_bytes] = measured(peer, tokenizer, path, settings)
        write(hostile.unit(), n_bytes, path)
        answer = measured(peer, tokenizer, path, settings)
        print(line(kind, answer, plain[n_bytes]), flush=True)
        found.append({"peer": peer, "tokenizer": tokenizer, "kind": kind, "answer": answer, "plain": plain[n_bytes]})
    return found
