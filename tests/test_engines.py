"""The fast engines against `tokenizers` itself, on tokenizers that nobody published."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, pre_tokenizers

import tokenizers_drawn as drawn
from longctx import Chunker
from longctx.errors import DocumentError

ENGINES = {
    "wordpiece": drawn.wordpiece(),
    "bytebpe": drawn.byte_level_bpe(),
    "bytebpe with marked ends": drawn.clip(),
    "charbpe": drawn.sentencepiece_bpe(),
    "unigram": drawn.unigram(),
}


def tokens_of(chunker: Chunker, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    batch = chunker([text])
    assert batch.offsets is not None
    n_tokens = int(batch.lengths[0])
    return batch.input_ids[0, :n_tokens].tolist(), [(int(start), int(end)) for start, end in batch.offsets[0, :n_tokens]]


def encoded(tokenizer: Tokenizer, text: str) -> Encoding | None:
    """What tokenizers gives; None where it panics, as 0.23.3 does on added tokens in normalized text whose letters have other lengths."""
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except BaseException as panic:  # pyo3's PanicException is no Exception, and has no module to import it from
        if type(panic).__name__ != "PanicException":
            raise
        return None


def normalized(tokenizer: Tokenizer, text: str) -> str:
    return text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
def test_ids_and_offsets_equal_tokenizers_on_drawn_tokenizers(engine: str, data: st.DataObject) -> None:
    tokenizer: Tokenizer = data.draw(ENGINES[engine])
    chunker = Chunker(tokenizer, max_tokens=4096, overlap_tokens=0, offsets=True, threads=1)
    assert f"engine: {engine.split(maxsplit=1)[0]}" in chunker.explain()
    for text in data.draw(st.lists(drawn.texts, min_size=1, max_size=8)):  # one after the other: what is cached must not matter
        expected = tokenizer.encode(text, add_special_tokens=False)
        assert tokens_of(chunker, text) == (expected.ids, expected.offsets)


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
def test_added_tokens_are_found_as_tokenizers_finds_them(engine: str, data: st.DataObject) -> None:
    from tokenizers import AddedToken

    tokenizer: Tokenizer = data.draw(ENGINES[engine])
    # Of added tokens that are normalized to the same string, tokenizers takes one or another, by chance.
    contents = data.draw(st.lists(drawn.PIECES, min_size=1, max_size=3, unique_by=partial(normalized, tokenizer)))
    flag = st.booleans()
    tokenizer.add_tokens(
        [
            AddedToken(c, single_word=data.draw(flag), lstrip=data.draw(flag), rstrip=data.draw(flag), normalized=data.draw(flag))
            for c in contents
        ]
    )
    chunker = Chunker(tokenizer, max_tokens=4096, overlap_tokens=0, offsets=True, threads=1)
    text = data.draw(st.lists(st.one_of(st.sampled_from(contents), drawn.texts), max_size=6).map("".join))
    expected = encoded(tokenizer, text)
    if expected is None:
        with suppress(DocumentError):  # an answer or an error that names the document, where the same code is behind it; nothing else
            tokens_of(chunker, text)
        return
    assert tokens_of(chunker, text) == (expected.ids, expected.offsets)


CLOSERS = [
    ([("?", 0.0), ("\u2581", -1.0), ("a", -1.0)], "z? a"),  # the unknown piece, one token with the letter before it
    ([(",.", 0.0), ("\u2581", -1.0), ("a", -1.0), (",", -1.0), (".", -1.5)], "z,. a,. b,"),
    ([("<unk>", 0.0), ("\u2581", -1.0), ("a", -1e18), (",", -1.0), (".", -1.5), (",.", -3.0)], "a,. b"),  # sums that are rounded
]


@pytest.mark.parametrize(("pieces", "text"), CLOSERS)
@pytest.mark.parametrize("splits_first", [True, False])
def test_what_closes_a_word_is_read_with_it_where_it_would_be_another_token(
    pieces: list[tuple[str, float]],
    text: str,
    splits_first: bool,
) -> None:
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    both = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.pre_tokenizer = both if splits_first else metaspace
    chunker = Chunker(tokenizer, max_tokens=64, overlap_tokens=0, offsets=True)
    assert "engine: unigram" in chunker.explain()
    expected = tokenizer.encode(text, add_special_tokens=False)
    assert tokens_of(chunker, text) == (expected.ids, expected.offsets)
