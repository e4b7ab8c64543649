"""How often zero-shot is right about whole documents, by aggregation and row length: ``python benches/zero_shot.py``.

100 real documents of about 2,300 words in five genres, and neutral text with one telling passage in the middle. Needs the extra
``longctx[minilm]`` and the test data (``../shared/data``); takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longctx import ChunkBatch, Chunker
from longctx.inference.backends.base import Readout
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.loop import RowRunner
from longctx.nn.aggregators import Aggregator, Max, Mean, SoftmaxEvidence
from longctx.nn.checkpoints import load_checkpoint
from longctx.nn.embedding import minilm_folder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
N_WORDS = 2300
N_PER_GENRE = 20
ROW_LENGTHS = (128, 256, 512)
AGGREGATORS: dict[str, Aggregator] = {
    "mean": Mean(),
    "max": Max(),
    "softmax x10": SoftmaxEvidence(10),
    "softmax x40": SoftmaxEvidence(40),
    "centred x10": SoftmaxEvidence(10, centred=True),
    "centred x20": SoftmaxEvidence(20, centred=True),
    "centred x40": SoftmaxEvidence(40, centred=True),
    "centred x80": SoftmaxEvidence(80, centred=True),
}
GENRES = {
    "law": "a law or regulation of the European Union",
    "film review": "a review of a film",
    "novel": "a chapter of a novel",
    "political speech": "a political speech by a president",
    "scientific paper": "a scientific paper about language processing",
}
FILES = (
    "classification/eurlex57k_7000.jsonl.gz",
    "classification/movie_reviews.jsonl.gz",
    "classification/book_authors.jsonl.gz",
    "plain/us_speeches.jsonl.gz",
    "summarization/scisummnet_300.jsonl.gz",
)
PASSAGES = {
    "football": "The match turned in the eighty-fifth minute, when the striker met the corner with his head and put the ball past the "
    "goalkeeper. The home team defended with ten men until the referee blew the final whistle, and the supporters sang in the stands. The "
    "win lifts the club to second place in the league, three points behind the champions, with four games left to play.",
    "medicine": "The patient was admitted with fever and chest pain. A blood test showed a raised white cell count, and the X-ray "
    "confirmed pneumonia of the left lung. The physician prescribed intravenous antibiotics and oxygen. After five days of treatment the "
    "infection cleared, the dose was reduced, and the nurse removed the drip before the patient was discharged from the hospital.",
    "cooking": "Melt the butter in a heavy pan, add the chopped onions and garlic and fry them gently until soft. Stir in the flour, then "
    "pour in the hot stock little by little, whisking all the time. Season with salt, pepper and nutmeg, simmer for twenty minutes, and "
    "serve the soup with toasted bread, grated cheese and a spoonful of cream.",
    "astronomy": "Through the telescope the astronomers followed the comet for eleven nights. Its orbit, they calculated, would bring it "
    "inside that of Mercury before it swung back beyond the outer planets. The spectrum of its tail showed sodium and carbon. On the last "
    "night the galaxy behind it could be photographed, a faint spiral two million light years away.",
    "finance": "The central bank raised its interest rate by half a percentage point to slow inflation. Bond yields climbed, shares of the "
    "large lenders fell, and the currency gained against the dollar. Analysts expect company profits to shrink in the next quarter as "
    "loans become more expensive, and several investment funds have moved their capital into government debt.",
    "music": "The orchestra opened with the overture, the strings playing so softly that the oboe could be heard above them. In the slow "
    "movement the pianist took the melody at a walking tempo, and the cellos answered in a minor key. After the final chord the conductor "
    "lowered his baton, and the audience called the soloist back for two encores.",
}


def texts(path: str, seed: int) -> list[str]:
    with gzip.open(DATA / path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line)["text"] for line in lines]
    random.Random(seed).shuffle(found)
    return found


def first_words(text: str, n_words: int = N_WORDS) -> str:
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    return text[: ends[min(n_words, len(ends)) - 1]]


def joined(parts: list[str]) -> Iterator[str]:
    """Short documents, one after the other, until they are long enough."""
    text = ""
    for part in parts:
        text = f"{text}\n\n{part}".strip()
        if len(text.split()) >= N_WORDS:
            yield text
            text = ""


def genre_documents() -> tuple[list[str], list[int]]:
    documents, answers = [], []
    for answer, path in enumerate(FILES):
        found = texts(path, seed=7)
        long = list(joined(found)) if "movie" in path else [text for text in found if len(text.split()) >= 1800]
        documents += [first_words(text) for text in long[:N_PER_GENRE]]
        answers += [answer] * N_PER_GENRE
    return documents, answers


def passage_documents() -> tuple[list[str], list[int]]:
    """Three chapters of novels and a speech, each with each passage in its middle."""
    novels = [text for text in texts(FILES[2], seed=11) if len(text.split()) >= N_WORDS][:3]
    speech = next(text for text in texts(FILES[3], seed=3) if len(text.split()) >= N_WORDS)
    documents, answers = [], []
    for neutral in map(first_words, [*novels, speech]):
        middle = len(first_words(neutral, N_WORDS // 2))
        documents += [f"{neutral[:middle]}\n\n{passage}\n\n{neutral[middle:]}" for passage in PASSAGES.values()]
        answers += range(len(PASSAGES))
    return documents, answers


class Embedder:
    """The packaged encoder at one row length."""

    def __init__(self, checkpoint: Any, max_tokens: int) -> None:
        self.chunker = Chunker(checkpoint.tokenizer, max_tokens=max_tokens, overlap_tokens=max_tokens // 8)
        backend = TorchBackend(checkpoint.model.eval(), Readout("embedding"), device=torch.device("cpu"))
        self.runner = RowRunner(backend, token_budget=4096)

    def __call__(self, documents: list[str]) -> tuple[Tensor, ChunkBatch]:
        """Embed ``documents``: ``(n_rows, hidden)`` and the rows."""
        batch = self.chunker(documents)
        return torch.from_numpy(self.runner.run(batch)), batch


def n_right(similarities: Tensor, batch: ChunkBatch, answers: list[int], aggregator: Aggregator) -> int:
    owner, fresh = torch.from_numpy(batch.document_index), torch.from_numpy(batch.fresh_tokens)
    right = 0
    for document, answer in enumerate(answers):
        own = owner == document
        values = similarities[own].unsqueeze(0)
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        right += int(aggregator(values, mask, fresh[own].unsqueeze(0)).argmax()) == answer
    return right


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--row-lengths", type=int, nargs="+", default=ROW_LENGTHS)
    row_lengths = arguments.parse_args().row_lengths
    if not DATA.is_dir():
        print(f"skipped: no test data at {DATA}")
        return
    checkpoint = load_checkpoint(minilm_folder())
    genres, passages = genre_documents(), passage_documents()
    print(f"{'row':>4}  {'aggregate':12} {'genre, name':>12} {'described':>10} {'one passage':>12}")
    for max_tokens in row_lengths:
        embed = Embedder(checkpoint, max_tokens)
        rows, passage_rows = embed(genres[0]), embed(passages[0])
        named = embed([f"This text is about {name}." for name in GENRES])[0]
        described = embed(list(GENRES.values()))[0]
        subjects = embed([f"This text is about {name}." for name in PASSAGES])[0]
        for name, aggregator in AGGREGATORS.items():
            by_name = n_right(rows[0] @ named.T, rows[1], genres[1], aggregator)
            by_description = n_right(rows[0] @ described.T, rows[1], genres[1], aggregator)
            by_passage = n_right(passage_rows[0] @ subjects.T, passage_rows[1], passages[1], aggregator)
            counts = f"{by_name:>8}/{len(genres[1])} {by_description:>6}/{len(genres[1])} {by_passage:>9}/{len(passages[1])}"
            print(f"{max_tokens:>4}  {name:12} {counts}", flush=True)


if __name__ == "__main__":
    main()
