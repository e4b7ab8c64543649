"""Speed of chunking beside other packages: ``python benches/chunking.py``; ``--help`` has the quick forms and the other modes.

Each measurement is a process of its own on one pinned core: load, a first call (``cold``), a call on a text it has not seen
(``steady``), the first text again (``repeat``, which flatters caches and is shown for comparison only). Packages take turns; figures are
medians of the rounds, by processor time. Needs the folder ``../shared/data``; says so and ends where it is not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from speed import hostile, report
from speed.corpora import DATA, LANGUAGES, ROOT, SAMPLE_BYTES, definition_of, write_documents, write_long_document
from speed.peers import PEERS
from speed.runs import Cell, Settings, ask_undisturbed, measure

TAKEN_BYTES = 20  # for each byte of a long document; rows and offsets take six
SPLITTERS = [name for name, peer in PEERS.items() if peer.is_splitter]
MULTILINGUAL = ["bert-base-multilingual-cased", "roberta-base", "qwen", "xlm-roberta-base"]


def tokenizers() -> list[str]:
    return sorted(path.parent.name for path in DATA.glob("tokenizers/*/tokenizer.json"))


def known(name: str) -> str:
    """Take the name of a tokenizer that is there."""
    if not definition_of(name).is_file():
        raise argparse.ArgumentTypeError(f"{name!r} is neither a tokenizer.json nor one of {', '.join(tokenizers())}.")
    return name


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="TOKENIZER", type=known, help="these, of the data or files, on every language")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="these packages, beside longctx")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, metavar="N", help="one long document, with one thread, with N, and with N processes")
    parser.add_argument("--hostile", action="store_true", help="texts made to be slow")
    parser.add_argument("--megabytes", type=int, help="length of the document of --threads (100) and --hostile (10 or 50)")
    parser.add_argument("--core", type=int, help="the core to use, by default the last one")
    parser.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="for one process")
    parser.add_argument("--output", type=Path, help="results file; a complete run has a place in benches/results")
    return parser.parse_args()


def cores(options: argparse.Namespace, n_threads: int) -> list[int]:
    """Return the core asked for, or the last ones: the first is where interrupts usually go."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return allowed[-n_threads:] if options.core is None else [options.core]


def plan(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Pair texts with tokenizers. Without ``--only``, languages other than English use one tokenizer of each kind that fits."""
    default = {"english": tokenizers(), "chinese": ["bert-base-chinese", *MULTILINGUAL]}
    return [(text, tokenizer) for text in options.languages for tokenizer in options.only or default.get(text, MULTILINGUAL)]


def compare(options: argparse.Namespace, folder: Path) -> int:
    """Measure packages side by side."""
    settings = Settings(options.rounds, cores(options, 1), limit_seconds=options.limit)
    wanted = [name for name in PEERS if name == report.OWN or name in (options.peers or PEERS)]
    readers, splitters = [n for n in wanted if n not in SPLITTERS], [n for n in wanted if n in SPLITTERS]
    cells: list[Cell] = []
    for language, tokenizer in plan(options):
        runs = [(language, readers, None)]
        if (language, tokenizer) == ("english", "bert-base-uncased") and splitters:
            runs.append(("english sample", [report.OWN, *splitters], SAMPLE_BYTES))
        for text, peers, n_bytes in runs:
            path = folder / f"{text}.json"
            if not path.exists():
                write_documents(language, path, *filter(None, [n_bytes]))
            cells += measure(peers, tokenizer, text, path, settings)
            print(report.table([cell for cell in cells if (cell.text, cell.tokenizer) == (text, tokenizer)]), flush=True)
    complete = not options.only and not options.peers and options.languages == list(LANGUAGES)
    report.write(report.results(cells, settings), options.output or (report.machine_file("chunking") if complete else partial("chunking")))
    return 0


def scale(options: argparse.Namespace, folder: Path) -> int:
    """Time one long document with one thread and with several, in turn, on the same cores, on the wall.

    And with as many processes of one thread, side by side, a core each, which share nothing: what the machine gives to several threads.
    """
    path, cpus = folder / "long.json", cores(options, options.threads)
    if len(cpus) < options.threads:
        print(f"{options.threads} threads need as many cores; there are {len(cpus)}.")
        return 2
    write_long_document(path, (options.megabytes or 100) * 1_000_000)
    woken = TAKEN_BYTES * path.stat().st_size
    settings = Settings(1, cpus, phases=("cold", "repeat"), limit_seconds=options.limit, n_bytes_woken=woken)
    found = []
    for tokenizer in options.only or tokenizers():
        for peer in options.peers or [report.OWN]:
            rounds = []
            for _ in range(options.rounds):
                apart = [replace(settings, cores=[cpu]) for cpu in cpus]
                ways = [[settings], [replace(settings, n_threads=options.threads)], apart]
                rounds.append([ask_undisturbed(peer, tokenizer, path, way) for way in ways])
            print(report.scaling(peer, tokenizer, options.threads, rounds), flush=True)
            found.append({"peer": peer, "tokenizer": tokenizer, "rounds": rounds})
    report.write({"machine": report.machine(), "threads": options.threads, "rows": found}, options.output or partial("threads"))
    return 0


def attack(options: argparse.Namespace, folder: Path) -> int:
    """Measure texts made to be slow, for each tokenizer."""
    settings = Settings(1, cores(options, 1), phases=("cold",), limit_seconds=options.limit)
    pairs = [(peer, tokenizer) for tokenizer in options.only or tokenizers() for peer in options.peers or [report.OWN]]
    found = [row for peer, name in pairs for row in hostile.run(peer, name, folder, settings, options.megabytes)]
    report.write({"machine": report.machine(), "rows": found}, options.output or partial("hostile"))
    return 0


def partial(prefix: str) -> Path:
    return ROOT / ".bench" / f"{prefix}.json"


def main() -> int:
    if not DATA.is_dir():
        print(f"skipped: no test data at {DATA}")
        return 0
    options = arguments()
    mode = scale if options.threads else attack if options.hostile else compare
    with tempfile.TemporaryDirectory() as folder:
        return mode(options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
