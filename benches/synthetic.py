"""Long documents whose class only a reader of all of them can know: tasks made of words, seeded, of any size.

A document is neutral filler with one or two short passages in it, none of them in its first words, so truncation sees nothing. Every word
is one token of BERT's uncased vocabulary, so positions count tokens as well as words. Everything that could give the class away is the
same for all classes: how long passages and documents are, where passages stand, and, for ``order`` and ``combination``, which words there
are.

============  ======================================================  =============================
task          what decides                                            what cannot know it
============  ======================================================  =============================
needle        which of four passages there is                         the first row
order         which of two passages, both always there, comes first   a bag of words, a bag of rows
combination   whether two facts, of two values each, agree            each fact by itself
============  ======================================================  =============================
"""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

N_CHUNKS = 50
CHUNK_WORDS = 110  # fresh tokens of a row of 128 that shares 16 with the next one
FIRST_WORDS = 512
"""Words at the beginning in which nothing decides."""
PASSAGE_WORDS = 13
"""Of every passage. It is at most what rows share, plus one, so that each passage stands whole in some row, wherever rows are cut."""
APART_CHUNKS = 3
"""Two passages are at least so far apart that no row, and no two neighbouring rows, hold both."""

FIRE = "the engine of the ship caught fire and burned through the night ."
MUSIC = "the young band won the song contest and played for the crowd ."
MONEY = "the central bank raised the interest rate and the dollar fell again ."
ILLNESS = "the doctor gave the sick patient medicine for the virus and fever ."

SHIP_LOST, SHIP_WON = FIRE, "the crew of the ship won the race and cheered at sunset ."
TRADE_LOST = "the central bank lost the money and the market fell in panic ."
TRADE_WON = "the company earned a record profit and paid the investors a bonus ."

Case = tuple[str, tuple[str, ...]]
"""A label, and the passages in their order."""

CASES: dict[str, list[Case]] = {
    "needle": [("fire", (FIRE,)), ("music", (MUSIC,)), ("money", (MONEY,)), ("illness", (ILLNESS,))],
    "order": [("fire first", (FIRE, MONEY)), ("money first", (MONEY, FIRE))],
    "combination": [
        ("same", (SHIP_LOST, TRADE_LOST)),
        ("different", (SHIP_LOST, TRADE_WON)),
        ("same", (SHIP_WON, TRADE_WON)),
        ("different", (SHIP_WON, TRADE_LOST)),
        ("same", (TRADE_LOST, SHIP_LOST)),
        ("different", (TRADE_WON, SHIP_LOST)),
        ("same", (TRADE_WON, SHIP_WON)),
        ("different", (TRADE_LOST, SHIP_WON)),
    ],
}

_ADJECTIVES = ("old", "small", "green", "quiet", "wooden", "narrow", "round", "warm", "brown", "tall")
_NOUNS = ("garden", "table", "window", "chair", "path", "basket", "wall", "kitchen", "bench", "tree", "door", "cup")
_VERBS = ("stood", "lay", "rested", "stayed", "waited", "remained")
_PREPOSITIONS = ("near", "behind", "beside", "under", "above", "across")


def make_task(
    task: str, n_documents: int, *, seed: int = 0, n_chunks: int = N_CHUNKS, chunk_words: int = CHUNK_WORDS, first_words: int = FIRST_WORDS
) -> list[tuple[str, str]]:
    """Make ``(text, label)`` pairs, shuffled, each case of the task as often as any other (or once more).

    Args:
        task: "needle", "order" or "combination".
        n_documents: how many.
        seed: the same seed, the same documents; another one, others.
        n_chunks: length of a document, in rows with ``chunk_words`` fresh tokens each.
        chunk_words: as above; the documents are read in rows of ``chunk_words`` and 16 more, besides the special tokens.
        first_words: where the first passage may begin.

    >>> text, label = make_task("order", 2, seed=1)[0]
    >>> label, len(text.split())
    ('money first', 5447)
    """
    generator = random.Random(f"{task} {seed}")
    cases = CASES[task]
    drawn = [cases[index % len(cases)] for index in range(n_documents)]
    generator.shuffle(drawn)
    n_words = n_chunks * chunk_words - chunk_words // 2
    apart = APART_CHUNKS * chunk_words
    return [(_document(generator, passages, n_words, first_words, apart), label) for label, passages in drawn]


def _document(generator: random.Random, passages: tuple[str, ...], n_words: int, first_words: int, apart: int) -> str:
    """Write filler of ``n_words`` less those of the passages (and up to a sentence more), with the passages between its sentences."""
    sentences = _filler(generator, n_words - PASSAGE_WORDS * len(passages))
    starts = [0, *accumulate(len(sentence.split()) for sentence in sentences)][:-1]
    places = _places(generator, starts, len(passages), first_words, apart)
    for place, passage in reversed(list(zip(places, passages, strict=True))):
        sentences.insert(place, passage)
    return " ".join(sentences)


def _filler(generator: random.Random, n_words: int) -> list[str]:
    sentences: list[str] = []
    written = 0
    while written < n_words:
        sentences.append(_sentence(generator))
        written += len(sentences[-1].split())
    return sentences


def _sentence(generator: random.Random) -> str:
    subject, place = _thing(generator), _thing(generator)
    return f"the {subject} {generator.choice(_VERBS)} {generator.choice(_PREPOSITIONS)} the {place} ."


def _thing(generator: random.Random) -> str:
    noun = generator.choice(_NOUNS)
    return noun if generator.random() < 1 / 3 else f"{generator.choice(_ADJECTIVES)} {noun}"


def _places(generator: random.Random, starts: list[int], n_passages: int, first_words: int, apart: int) -> list[int]:
    """Draw sentences, in order, before which passages stand; all such choices are equally likely."""
    allowed = [index for index, start in enumerate(starts) if start >= first_words]
    if not allowed or starts[allowed[-1]] - starts[allowed[0]] < apart * n_passages:
        raise ValueError(f"documents of {starts[-1]} words are too short to hide passages after the first {first_words}; use more chunks")
    while True:
        places = sorted(generator.sample(allowed, n_passages))
        if all(starts[after] - starts[before] >= apart for before, after in pairwise(places)):
            return places
