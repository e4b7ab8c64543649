"""Where chunks may end. Texts are plain ASCII, so that words, sentences and paragraphs are obvious."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import strategies as sts
from longctx import Chunker
from tokenizers_built import built

RANK = {"token": 0, "word": 1, "sentence": 2, "paragraph": 3}
WORDS = ["fox", "dogs", "unreadable", "encoder", "quick", "zzyzx", "document"]


@st.composite
def prose(draw: st.DrawFn) -> str:
    """Paragraphs of sentences of words; only full stops and line ends, so only they end sentences."""
    blank = st.sampled_from([" ", " ", " ", "\n", "\r\n"])
    paragraphs = []
    for _ in range(draw(st.integers(1, 4))):
        counts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
        words = [[draw(st.sampled_from(WORDS)) for _ in range(n)] for n in counts]
        sentences = [("".join(word + draw(blank) for word in sentence[:-1]) + sentence[-1]).capitalize() + "." for sentence in words]
        paragraphs.append("".join(sentence + draw(blank) for sentence in sentences[:-1]) + sentences[-1])
    return draw(st.sampled_from(["\n\n", "\r\n\r\n"])).join(paragraphs)


def strength_before(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """For each token, the strongest boundary between it and the token before; the text's start counts as the strongest."""
    strengths, last_end = [], 0
    for start, end in offsets:
        # Blanks that are a token, or that a token begins with, are part of the gap, and both its sides are one boundary.
        first_visible = end - len(text[start:end].lstrip())
        gap = text[last_end:first_visible]
        n_line_ends = gap.replace("\r\n", "\n").count("\n")
        if last_end == 0 or n_line_ends > 1:
            strengths.append(3)
        elif n_line_ends or (text[last_end - 1] == "." and gap):
            strengths.append(2)
        else:
            strengths.append(1 if gap or text[start] == "." else 0)
        last_end = end if first_visible < end else last_end
    return strengths


Cut = tuple[str, str, sts.Lengths]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    """A text, a kind of boundary, and lengths."""
    lengths = draw(sts.lengths(max_room=20, names=("words", "bert_like", "roberta_like", "gpt2_like")))
    text, drops_blanks = draw(prose()), lengths.name in ("words", "bert_like")
    # Where blanks are tokens, runs of no more than two: the oracle does not say which cut inside of a longer one is best.
    return text if drops_blanks else text.replace("\r\n", "\n"), draw(sts.boundaries), lengths


def strengths_of(text: str, boundary: str, name: str) -> list[int]:
    return [min(strength, RANK[boundary]) for strength in strength_before(text, oracle.content(built(name), text).offsets)]


@given(cut=cuts(), tail=st.sampled_from(["keep", "backfill"]))
def test_chunks_end_at_the_last_of_the_strongest_boundaries_in_reach(cut: Cut, tail: str) -> None:
    text, boundary, lengths = cut
    chunker = Chunker(lengths.tokenizer, boundary=boundary, tail=tail, **lengths.options)
    strengths = strengths_of(text, boundary, lengths.name)
    for start, end in chunker(text).token_spans.tolist()[:-1]:
        reach = range(start + lengths.overlap + 1, start + lengths.room + 1)
        assert end == max(reach, key=lambda i: (strengths[i], i)), (start, end, strengths)


@given(cut=cuts())
def test_balanced_chunks_end_at_the_strongest_boundary_nearest_to_their_share(cut: Cut) -> None:
    text, boundary, lengths = cut
    chunker = Chunker(lengths.tokenizer, boundary=boundary, tail="balance", **lengths.options)
    strengths = strengths_of(text, boundary, lengths.name)
    for start, end in chunker(text).token_spans.tolist()[:-1]:
        first_share = oracle.balance(len(strengths) - start, lengths.room, lengths.overlap)[0][1]
        reach = range(start + lengths.overlap + 1, start + lengths.room + 1)
        assert end == max(reach, key=lambda i: (strengths[i], -abs(i - start - first_share), i)), (start, end, strengths)


@given(text=prose(), room=st.integers(1, 16), data=st.data(), boundary=sts.boundaries, tail=sts.tails)
def test_there_is_always_progress_in_rows_that_fit(text: str, room: int, data: st.DataObject, boundary: str, tail: str) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    chunker = Chunker(built("words"), max_tokens=room, overlap_tokens=overlap, boundary=boundary, tail=tail)
    spans = chunker(text).token_spans
    assert (np.diff(spans, axis=0) > 0).all()
    assert (np.diff(spans, axis=1) <= room).all()
    assert spans[-1, 1] == len(oracle.content(built("words"), text).ids)


@given(text=prose(), room=st.integers(2, 12), data=st.data(), boundary=sts.boundaries)
def test_neighbours_share_at_least_the_overlap(text: str, room: int, data: st.DataObject, boundary: str) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    chunker = Chunker(built("words"), max_tokens=room, overlap_tokens=overlap, boundary=boundary)
    spans = chunker(text).token_spans
    assert (spans[:-1, 1] - spans[1:, 0] >= overlap).all()


def passages(text: str, boundary: str, room: int) -> list[str]:
    batch = Chunker(built("words"), max_tokens=room, overlap_tokens=0, boundary=boundary)(text)
    return [text[start:end] for start, end in batch.char_spans.tolist()]


def test_paragraphs_stay_whole_where_they_fit() -> None:
    text = "Fox dogs. Quick.\n\nEncoder.\n\nDocument fox dogs quick."
    assert passages(text, "paragraph", 6) == ["Fox dogs. Quick.", "Encoder.", "Document fox dogs quick."]


def test_paragraphs_of_windows_files_count_too() -> None:
    text = "Fox dogs. Quick.\r\n\r\nEncoder dogs fox quick."
    assert passages(text, "paragraph", 8) == ["Fox dogs. Quick.", "Encoder dogs fox quick."]


def test_sentences_stay_whole_where_they_fit() -> None:
    text = "Fox dogs. Quick encoder. Document fox dogs."
    assert passages(text, "sentence", 5) == ["Fox dogs.", "Quick encoder.", "Document fox dogs."]


def test_a_paragraph_too_long_for_a_row_falls_back_to_sentences_then_words() -> None:
    text = "Fox dogs. Quick encoder document fox dogs quick."
    assert passages(text, "paragraph", 4) == ["Fox dogs.", "Quick encoder document fox", "dogs quick."]


@pytest.mark.parametrize("name", ["bert_like", "roberta_like", "t5_like"])
def test_words_are_not_cut_where_they_fit(name: str) -> None:
    text = "unreadable zzyzx documents quickly encoder " * 10
    n_added = oracle.frame(built(name)).n_added
    batch = Chunker(built(name), max_tokens=25 + n_added, overlap_tokens=0, boundary="word")(text)
    assert batch.n_rows > 2
    assert {word for start, end in batch.char_spans.tolist() for word in text[start:end].split()} == set(text.split())


def test_both_sides_of_a_blank_that_is_a_token_are_one_boundary() -> None:
    text = "a   b"
    assert len(oracle.content(built("gpt2_like"), text).ids) == 4  # two of them blanks
    spans = Chunker(built("gpt2_like"), max_tokens=2, overlap_tokens=0, boundary="word")(text).token_spans
    assert spans.tolist() == [[0, 2], [2, 4]]


def test_a_word_longer_than_a_row_is_cut_between_tokens() -> None:
    batch = Chunker(built("bert_like"), max_tokens=6, overlap_tokens=1, boundary="word")("readers" * 14)
    assert batch.n_rows > 5
    assert int(batch.fresh_tokens.sum()) == batch.coverage[0].tokens
