"""Draws the results of ``benches/chunking.py``, by default as ``docs/chunking.png``.

Run ``python benches/speed/picture.py [results.json] [picture.png]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window system needed
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "chunking.png"
TEXT = "english"
TOKENIZERS = ("bert-base-uncased", "roberta-base", "modernbert-base", "qwen", "xlm-roberta-base", "deberta-v3-base")
BARS = ("transformers", "tokenizers", "tokenizers 1.0rc", "gigatoken", "nanotoken", "longctx, no offsets", "longctx")
OWN_COLOR, SAME_WORK_COLOR, IDS_COLOR, PALE = "#c2410c", "#334155", "#94a3b8", 0.45


def color(cell: dict[str, Any]) -> str:
    if cell["peer"].startswith("longctx"):
        return OWN_COLOR
    return SAME_WORK_COLOR if cell["product"] == "rows + offsets" else IDS_COLOR


def title(cell: dict[str, Any], versions: dict[str, str]) -> str:
    name = cell["peer"].split(",")[0].replace(" 1.0rc", "")
    return f"{name} {versions[cell['peer']]}\n{cell['product']}"


def draw(axes: Axes, tokenizer: str, cells: dict[str, dict[str, Any]], versions: dict[str, str]) -> None:
    """One tokenizer: for each package a bar for the first call above one for unseen text."""
    shown = [cells[name] for name in BARS if name in cells and not cells[name]["refused"]]
    for place, cell in enumerate(shown):
        for offset, phase, alpha in ((0.2, "cold", PALE), (-0.2, "steady", 1.0)):
            speed = cell["summary"]["mb_per_s"][phase]
            axes.barh(place + offset, speed, height=0.38, color=color(cell), alpha=alpha)
            axes.annotate(f" {speed:.3g}", (speed, place + offset), va="center", fontsize=7)
    axes.set_yticks(range(len(shown)), [title(cell, versions) for cell in shown], fontsize=7)
    refused = [name for name in BARS if name in cells and cells[name]["refused"]]
    axes.set_title(tokenizer, fontsize=10, loc="left")
    axes.set_title(f"no result: {', '.join(refused)}" if refused else "", fontsize=7, loc="right")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=7)


def main() -> None:
    arguments = [Path(argument) for argument in sys.argv[1:]]
    sources = arguments[:1] or sorted((ROOT / "benches" / "results").glob("chunking-*.json"))
    if not sources:
        sys.exit("no results: run `python benches/chunking.py` first, or name a results file")
    found = json.loads(sources[-1].read_text("utf-8"))
    by_tokenizer: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in found["cells"]:
        if cell["text"] == TEXT:
            by_tokenizer.setdefault(cell["tokenizer"], {})[cell["peer"]] = cell
    chosen = [name for name in TOKENIZERS if name in by_tokenizer]
    figure, grid = plt.subplots((len(chosen) + 1) // 2, 2, figsize=(11, 2.5 * ((len(chosen) + 1) // 2) + 0.8), squeeze=False)
    for axes, name in zip(grid.flat, chosen, strict=False):
        draw(axes, name, by_tokenizer[name], found["versions"])
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    figure.suptitle("English prose, one core, MB/s: solid is a text the process has not seen, pale its first call", fontsize=11)
    where = f"{found['machine']['processor']}, {found['machine']['system']}, {found['date']}"
    figure.text(0.5, 0.005, f"{where}; processor time, median of the rounds; longer is better", ha="center", fontsize=7)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    target = arguments[1] if len(arguments) > 1 else PICTURE
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    print(f"written: {target}")


if __name__ == "__main__":
    main()
