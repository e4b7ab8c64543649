"""The texts: for each language two that share no passage, cut into documents of 20 kB.

The first is read in a process's first call (``cold``) and again at the end (``repeat``), the second in between (``steady``), unseen
until then.
"""

from __future__ import annotations

import gzip
import json
import random
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def definition_of(tokenizer: str) -> Path:
    """Find the ``tokenizer.json`` of a tokenizer in the data; a path is one already."""
    return Path(tokenizer) if tokenizer.endswith(".json") else DATA / "tokenizers" / tokenizer / "tokenizer.json"


TEXT_BYTES = 1_900_000
SAMPLE_BYTES = 100_000  # for packages that need minutes for a book
DOCUMENT_BYTES = 20_000
Texts = tuple[str, str]


def read(name: str) -> str:
    with gzip.open(DATA / "plain" / name, "rt", encoding="utf-8") as file:
        return file.read()


def records(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def shared_out(parts: Iterable[str]) -> Texts:
    """Put every other part into the first text, the rest into the second."""
    parts = list(parts)
    return "\n\n".join(parts[::2]), "\n\n".join(parts[1::2])


def english() -> Texts:
    return read("bleak_house.md.gz"), read("war_and_peace.md.gz")


def german() -> Texts:
    """Read encyclopedia articles, 0.1 MB for each text: the longest German at hand."""
    return shared_out(record["text"] for record in records("qa/xquad_long.jsonl.gz") if record["lang"] == "de")


def chinese() -> Texts:
    return shared_out(record["text"] for record in records("chinese/sogou_c.jsonl.gz"))


def japanese() -> Texts:
    """Halve one novel: 0.56 MB each."""
    text = read("wagahai_ja.txt.gz")
    return text[: len(text) // 2], text[len(text) // 2 :]


def mixed() -> Texts:
    """Read one declaration in some 300 languages; variants of one (``deu``, ``deu_1901``) stay in the same text."""
    languages: dict[str, list[str]] = {}
    for record in records("plain/udhr.jsonl.gz"):
        languages.setdefault(record["id"][:3], []).append(record["text"])
    parts = ["\n\n".join(variants) for variants in languages.values()]
    random.Random(0).shuffle(parts)  # else the text is cut off before the last letters of the alphabet
    return shared_out(parts)


def code() -> Texts:
    """Read the running interpreter's standard library, without its tests and their tables of data."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in sorted(library.rglob("*.py")) if not {"site-packages", "test", "tests"} & set(path.parts)]
    random.Random(0).shuffle(paths)
    return shared_out(path.read_text("utf-8", errors="replace") for path in paths)


LANGUAGES: dict[str, Callable[[], Texts]] = {
    "english": english,
    "german": german,
    "chinese": chinese,
    "japanese": japanese,
    "mixed": mixed,
    "code": code,
}


def documents(text: str, n_bytes: int) -> list[str]:
    """Cut at most ``n_bytes`` of ``text`` into documents of about ``DOCUMENT_BYTES``, cut between characters."""
    data = text.encode()[:n_bytes]
    pieces = (data[start : start + DOCUMENT_BYTES] for start in range(0, len(data), DOCUMENT_BYTES))
    return [piece.decode("utf-8", errors="ignore") for piece in pieces]


def write_documents(language: str, path: Path, n_bytes: int = TEXT_BYTES) -> None:
    """Write ``{"cold": [document, ...], "steady": [document, ...]}``, for the measuring processes to read."""
    cold, steady = LANGUAGES[language]()
    path.write_text(json.dumps({"cold": documents(cold, n_bytes), "steady": documents(steady, n_bytes)}), "utf-8")


def write_long_document(path: Path, n_bytes: int) -> None:
    """Write one document of ``n_bytes``: the paragraphs of English books, in a new order each time around."""
    paragraphs = "\n\n".join(english()).split("\n\n")
    shuffled, length = [], 0
    for seed in range(n_bytes):
        random.Random(seed).shuffle(paragraphs)
        shuffled.append("\n\n".join(paragraphs))
        length += len(shuffled[-1].encode())
        if length >= n_bytes:
            break
    text = "\n\n".join(shuffled).encode()[:n_bytes].decode("utf-8", errors="ignore")
    path.write_text(json.dumps({"cold": [text]}), "utf-8")
