"""Token ids, offsets and windows equal those of Hugging Face `tokenizers`, on real tokenizers and hostile texts."""

from __future__ import annotations

import gzip
import json
import random
import string
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import Encoding, Tokenizer

import oracle
from longctx import ChunkBatch, Chunker
from tokenizers_built import FAMILIES, NAMES, built

REAL = [
    "bert-base-cased", "bert-base-chinese", "bert-base-multilingual-cased", "bert-base-multilingual-uncased",
    "bert-base-uncased", "deberta-v3-base", "gpt2", "llama2", "modernbert-base", "qwen", "roberta-base", "t5-small",
    "xlm-roberta-base", *(f"{base} as {family}" for base, family in FAMILIES),
]  # fmt: skip
Load = Callable[[str], Tokenizer]


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@cache
def stress_texts(data_folder: Path) -> list[str]:
    """About 250 kB: naughty strings, normal forms, emoji, long words, and laws in sixty languages."""
    plain = data_folder / "plain"
    naughty = json.loads((plain / "naughty_strings.json").read_text("utf-8"))
    stress = [row["text"][:600] for row in read_jsonl(plain / "unicode_stress.jsonl.gz")]
    laws = [row["text"][:900] for i, row in enumerate(read_jsonl(plain / "udhr.jsonl.gz")) if i % 6 == 0]
    books = []
    for name in ("bleak_house.md.gz", "wagahai_ja.txt.gz", "war_and_peace.md.gz"):
        with gzip.open(plain / name, "rt", encoding="utf-8", newline="") as book:
            books.append(book.read(12_000))
    return [*naughty, *stress, *laws, *books]


def windows_of(tokenizer: Tokenizer, text: str) -> list[Encoding]:
    """All rows `tokenizers` makes of one text; truncation is set on the tokenizer."""
    encoding = tokenizer.encode(text)
    return [encoding, *encoding.overflowing]


def truncating(tokenizer: Tokenizer, max_tokens: int, overlap: int, specials: str) -> Tokenizer:
    copy = oracle.plain(tokenizer, specials)
    copy.enable_truncation(max_tokens, stride=overlap)
    return copy


def assert_rows_equal(batch: ChunkBatch, expected: list[list[Encoding]], texts: list[str]) -> None:
    """Row by row, ids and offsets; a failure names the document."""
    assert batch.offsets is not None
    windows = [(document, window) for document, rows in enumerate(expected) for window in rows]
    assert batch.document_index.tolist() == [document for document, _ in windows]
    for i, (document, window) in enumerate(windows):
        length, context = int(batch.lengths[i]), f"row {i}, document {document}: {texts[document][:200]!r}"
        row = slice(batch.width - length, None) if batch.padding_side == "left" and length else slice(0, length)
        assert batch.input_ids[i, row].tolist() == list(window.ids), context
        assert [tuple(pair) for pair in batch.offsets[i, row].tolist()] == list(window.offsets), context


def test_the_oracle_is_the_version_that_is_promised() -> None:
    assert tokenizers.__version__ == "0.23.3"


@pytest.mark.parametrize("name", REAL)
def test_every_published_family_has_an_engine_of_its_own(name: str, real_tokenizer: Load) -> None:
    explanation = Chunker(real_tokenizer(name), max_tokens=64, overlap_tokens=9).explain()
    engines = {"bert": "wordpiece", "llama2": "charbpe", "t5": "unigram", "deberta": "unigram", "xlm": "unigram"}
    expected = next((engine for start, engine in engines.items() if name.startswith(start)), "bytebpe")
    assert f"engine: {expected}" in explanation


def test_clip_is_read_as_its_published_definition_has_it(real_tokenizer: Load, data_folder: Path) -> None:
    definition = json.loads(real_tokenizer("gpt2 as clip").to_str())
    start, end = definition["added_tokens"]
    start["normalized"], end["normalized"] = True, False
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    for specials, engine in (("text", "bytebpe"), ("parse", "general")):  # parsed, they are looked for in lowered text
        chunker = Chunker(tokenizer, max_tokens=64, overlap_tokens=9, offsets=True, specials=specials)
        assert f"engine: {engine}" in chunker.explain()
        texts = ["a <|startoftext|>b<|STARTOFTEXT|> <|endoftext|>'s <|EndOfText|>", *stress_texts(data_folder)[:60]]
        reference = truncating(tokenizer, 64, 9, specials)
        assert_rows_equal(chunker(texts), [windows_of(reference, text) for text in texts], texts)


@pytest.mark.parametrize("name", REAL)
def test_ids_and_offsets_of_stress_texts_equal_tokenizers(name: str, real_tokenizer: Load, data_folder: Path) -> None:
    texts = stress_texts(data_folder)
    chunker = Chunker(real_tokenizer(name), max_tokens=64, overlap_tokens=9, offsets=True)
    reference = truncating(real_tokenizer(name), 64, 9, "text")
    assert_rows_equal(chunker(texts), [windows_of(reference, text) for text in texts], texts)


@pytest.mark.parametrize("specials", ["text", "parse"])
@pytest.mark.parametrize("name", REAL)
def test_special_tokens_in_a_text_equal_tokenizers(name: str, specials: str, real_tokenizer: Load, data_folder: Path) -> None:
    tokenizer = real_tokenizer(name)
    written = [token.content for token in tokenizer.get_added_tokens_decoder().values()][:40]
    texts = [*(f"a{s} {s}{s}b, {s.lower()}{s[:-1]}" for s in written), *stress_texts(data_folder)[:120]]
    chunker = Chunker(tokenizer, max_tokens=32, overlap_tokens=5, specials=specials, offsets=True)
    reference = truncating(tokenizer, 32, 5, specials)
    assert_rows_equal(chunker(texts), [windows_of(reference, text) for text in texts], texts)


@pytest.mark.parametrize("name", REAL)
def test_windows_of_book_pages_equal_tokenizers(name: str, real_tokenizer: Load, data_folder: Path) -> None:
    texts = [text[:3000] for text in stress_texts(data_folder)[-9:]]
    tokenizer = real_tokenizer(name)
    # The arithmetic of windows does not know the tokenizer: all lengths for the small ones, one pair for each.
    pairs = [(512, 64), (512, 0), (128, 100), (7, 3), (4, 0)] if tokenizer.get_vocab_size() < 35_000 else [(512, 64)]
    reference = oracle.plain(tokenizer)
    for max_tokens, overlap in pairs:
        chunker = Chunker(tokenizer, max_tokens=max_tokens, overlap_tokens=overlap, offsets=True)
        reference.enable_truncation(max_tokens, stride=overlap)
        assert_rows_equal(chunker(texts), [windows_of(reference, text) for text in texts], texts)


@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "xlm-roberta-base"])
def test_a_whole_chapter_in_one_row_equals_tokenizers(name: str, real_tokenizer: Load, data_folder: Path) -> None:
    text = "\r\n".join(stress_texts(data_folder)[-3:])
    batch = Chunker(real_tokenizer(name), max_tokens=100_000, overlap_tokens=0, offsets=True)(text)
    assert_rows_equal(batch, [[oracle.plain(real_tokenizer(name)).encode(text)]], [text])


def long_words() -> list[str]:
    """Words longer than what engines hold or remember at a time: without order, of one thing over and over, of marks, of many scripts."""
    draw = random.Random(4)
    han = [chr(draw.randrange(0x4E00, 0x9FA6)) for _ in range(300)]
    marks = list("a\u00e9q\u1ea1\u212b\uac00\u1100\u1161\u11a8\u0301\u0300\u0323\u0327\u0345")
    all_kinds = [*string.ascii_letters, *han, *marks, *"\u2581\uff10\u2167\ufb01-=."]
    words = [
        "".join(draw.choices(alphabet, k=n)) for alphabet in (string.ascii_lowercase, han, marks, all_kinds) for n in (257, 4097, 9000)
    ]
    periods = ["a", "=", "\u4e2d", "\u0301", "\u200d", "e\u0301", "".join(draw.choices(string.ascii_lowercase, k=37))]
    return [*words, *(period * (9000 // len(period)) for period in periods)]


@pytest.mark.parametrize("name", REAL)
def test_documents_that_begin_with_what_is_removed_equal_tokenizers(name: str, real_tokenizer: Load) -> None:
    starts = ["\x01", "\x7f", "\u0301", "\u200b", "\ufeff", "\u00ad", "\u0301\x01", "\x01\u0301", "\u1112\u1161\u11ab"]
    texts = [start + rest for start in starts for rest in ("word" * 2000, "Hello, w\u00f6rld. " * 400, "\ud55c\uad6d " * 900)]
    chunker = Chunker(real_tokenizer(name), max_tokens=100_000, overlap_tokens=0, offsets=True)
    reference = oracle.plain(real_tokenizer(name))
    assert_rows_equal(chunker(texts), [[reference.encode(text)] for text in texts], texts)


@pytest.mark.parametrize("name", REAL)
def test_words_of_any_length_equal_tokenizers(name: str, real_tokenizer: Load) -> None:
    words = long_words()
    texts = [*words, *(f"{one} {other}, and {one}" for one, other in pairwise(words))]
    chunker = Chunker(real_tokenizer(name), max_tokens=100_000, overlap_tokens=0, offsets=True)
    reference = oracle.plain(real_tokenizer(name))
    assert_rows_equal(chunker(texts), [[reference.encode(text)] for text in texts], texts)


@pytest.mark.parametrize("name", ["bert-base-cased", "gpt2", "llama2", "modernbert-base"])
def test_ids_equal_those_an_independent_project_published(name: str, real_tokenizer: Load, data_folder: Path) -> None:
    golden = list(read_jsonl(data_folder / "tokenizers" / name / "golden.jsonl.gz"))
    # Published with special tokens parsed, and none added.
    chunker = Chunker(real_tokenizer(name), max_tokens=2_000_000, overlap_tokens=0, specials="parse")
    frame = oracle.frame(real_tokenizer(name))
    for row in golden:
        assert chunker(row["text"]).input_ids[0].tolist() == frame.row(row["ids"]), row["text"][:200]


def test_every_length_row_and_overlap_gives_the_windows_of_tokenizers() -> None:
    texts = ["fox " * n for n in range(61)]
    for max_tokens in range(3, 14):
        for overlap in range(max_tokens - 2):
            chunker = Chunker(built("bert_like"), max_tokens=max_tokens, overlap_tokens=overlap, offsets=True)
            reference = truncating(built("bert_like"), max_tokens, overlap, "text")
            assert_rows_equal(chunker(texts), [windows_of(reference, text) for text in texts], texts)


# Under add_prefix_space, `tokenizers` trims the first token of every overflow window as if it began the text, so that a token's
# offsets depend on the window it is in; there, longctx keeps to the offsets that the token has in its document.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"roberta_like_prefix_space"}))
def test_windows_of_built_tokenizers_equal_tokenizers(name: str) -> None:
    texts = ["", " ", "The quick unreadable fox.\r\n" * 9, "e\u0301 naïve 猫 👩‍👩‍👧 [SEP]</s><s> \x00\u200b " * 7]
    frame = oracle.frame(built(name))
    for room, overlap in ((1, 0), (2, 1), (5, 2), (13, 12), (40, 0)):
        max_tokens = room + frame.n_added
        for specials in ("text", "parse"):
            options: dict[str, Any] = {"max_tokens": max_tokens, "overlap_tokens": overlap, "specials": specials}
            reference = truncating(built(name), max_tokens, overlap, specials)
            batch = Chunker(built(name), offsets=True, **options)(texts)
            assert_rows_equal(batch, [windows_of(reference, text) for text in texts], texts)


def test_truncation_baked_into_a_tokenizer_loses_nothing() -> None:
    text = "the quick brown fox jumps over the lazy dog " * 200
    batch = Chunker(built("bert_like_with_baked_lengths"), max_tokens=64, overlap_tokens=8)(text)
    reference = truncating(built("bert_like"), 64, 8, "text")
    assert batch.n_rows == len(windows_of(reference, text)) > 30
    assert batch.char_spans[0, 0] == 0
    assert batch.char_spans[-1, 1] == len(text) - 1
    assert all(before[1] >= after[0] for before, after in pairwise(batch.char_spans.tolist()))


def test_a_document_long_enough_for_several_threads_equals_tokenizers(real_tokenizer: Load, data_folder: Path) -> None:
    with gzip.open(data_folder / "plain" / "bleak_house.md.gz", "rt", encoding="utf-8", newline="") as book:
        text = book.read(300_000)
    for name in ("bert-base-uncased", "roberta-base"):
        encoding = oracle.plain(real_tokenizer(name)).encode(text)
        batch = Chunker(real_tokenizer(name), max_tokens=200_000, overlap_tokens=0, offsets=True, threads=4)(text)
        assert np.array_equal(batch.input_ids[0], encoding.ids)
        assert batch.offsets is not None
        assert np.array_equal(batch.offsets[0], encoding.offsets)
