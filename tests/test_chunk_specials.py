"""Literal special tokens in a text, prefixes and suffixes, and lengths baked into a tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import longctx
import oracle
import strategies as sts
from longctx import Chunker
from tokenizers_built import NAMES, built, id_of

SPECIAL_OF = {
    "bert_like": "[SEP]",
    "roberta_like": "</s>",
    "roberta_like_prefix_space": "<mask>",
    "gpt2_like": "<|endoftext|>",
    "t5_like": "</s>",
    "xlnet_like": "<cls>",
}
SHORT: dict[str, Any] = {"max_tokens": 12, "overlap_tokens": 3}


@given(lengths=sts.lengths(), text=sts.texts, specials=st.sampled_from(["text", "parse"]))
def test_specials_text_and_parse_read_as_tokenizers_does(lengths: sts.Lengths, text: str, specials: str) -> None:
    expected = oracle.content(lengths.tokenizer, text, specials).ids
    batch = Chunker(lengths.tokenizer, specials=specials, **lengths.options)(text)
    windows = oracle.keep(len(expected), lengths.room, lengths.overlap)
    frame = oracle.frame(lengths.tokenizer)
    rows = [frame.row(expected[start:end]) for start, end in windows]
    assert batch.input_ids.tolist() == [oracle.padded(row, batch.width, batch.pad_id, batch.padding_side) for row in rows]


# A Unigram model knows its special tokens as pieces and finds them in any text, in `tokenizers` too, whose ids are the contract.
@pytest.mark.parametrize("name", sorted(set(SPECIAL_OF) - {"t5_like", "xlnet_like"}))
def test_a_literal_special_is_text_unless_parsed(name: str) -> None:
    special = SPECIAL_OF[name]
    special_id = id_of(built(name), special)
    as_text = Chunker(built(name), max_tokens=64, overlap_tokens=0)(f"fox {special} dog")
    parsed = Chunker(built(name), max_tokens=64, overlap_tokens=0, specials="parse")(f"fox {special} dog")
    n_in_frame = oracle.frame(built(name)).row([]).count(special_id)
    assert as_text.input_ids[0].tolist().count(special_id) == n_in_frame
    assert parsed.input_ids[0].tolist().count(special_id) == n_in_frame + 1


@pytest.mark.parametrize("name", sorted(SPECIAL_OF))
def test_specials_error_refuses_a_literal_special_and_names_it(name: str) -> None:
    chunker = Chunker(built(name), specials="error", **SHORT)
    chunker(["fox", "dog"])
    with pytest.raises(longctx.DocumentError) as caught:
        chunker(["fox", "dog", f"a {SPECIAL_OF[name]} b"])
    assert caught.value.document_index == 2
    assert SPECIAL_OF[name] in str(caught.value)
    assert "specials" in str(caught.value)


@pytest.mark.parametrize("name", sorted(SPECIAL_OF))
def test_specials_error_names_a_special_anywhere_in_a_text_that_is_read_while_it_is_copied(name: str) -> None:
    chunker = Chunker(built(name), specials="error", threads=2, **SHORT)
    for n_before, n_after in ((1_000, 999_000), (500_000, 500_000), (1_000_000, 0)):
        text = "é fox " * n_before + SPECIAL_OF[name] + " dog é" * n_after
        with pytest.raises(longctx.DocumentError, match=f"at character {6 * n_before}") as caught:
            chunker(text)
        assert caught.value.document_index == 0


def pair_room(name: str, lengths_of: dict[str, str]) -> tuple[oracle.Frame, int]:
    frame = oracle.frame(built(name), **lengths_of)
    return frame, frame.n_added


@given(name=sts.tokenizer_names, text=sts.texts, room=st.integers(1, 12), data=st.data(), side=st.booleans())
def test_prefix_and_suffix_rows_follow_the_pair_template(name: str, text: str, room: int, data: st.DataObject, side: bool) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    other = {"prefix" if side else "suffix": "What does the fox read?"}
    frame, n_added = pair_room(name, other)
    chunker = Chunker(built(name), max_tokens=room + n_added, overlap_tokens=overlap, **other)  # type: ignore[arg-type]
    batch, ids = chunker(text), oracle.content(built(name), text).ids
    assert chunker.room_tokens == room
    rows = [frame.row(ids[start:end]) for start, end in oracle.keep(len(ids), room, overlap)]
    assert batch.input_ids.tolist() == [oracle.padded(row, batch.width, batch.pad_id, batch.padding_side) for row in rows]
    if batch.token_type_ids is not None:
        types = [frame.types(len(row) - n_added) for row in rows]
        expected = [oracle.padded(row, batch.width, chunker.pad_token_type_id, batch.padding_side) for row in types]
        assert batch.token_type_ids.tolist() == expected


@pytest.mark.parametrize("name", ["bert_like", "roberta_like", "t5_like"])
@pytest.mark.parametrize("side", ["prefix", "suffix"])
def test_pair_rows_equal_tokenizers_only_second_and_only_first_truncation(name: str, side: str) -> None:
    text, question = "The quick brown fox jumps over the lazy dog. " * 6, "What does the fox read?"
    chunker = Chunker(built(name), max_tokens=40, overlap_tokens=3, offsets=True, **{side: question})  # type: ignore[arg-type]
    tokenizer = oracle.plain(built(name))
    tokenizer.enable_truncation(40, stride=3, strategy="only_second" if side == "prefix" else "only_first")
    encoding = tokenizer.encode(question, text) if side == "prefix" else tokenizer.encode(text, question)
    batch = chunker(text)
    for row, length, window in zip(batch.input_ids, batch.lengths, [encoding, *encoding.overflowing], strict=True):
        assert row[:length].tolist() == list(window.ids)


@given(name=sts.tokenizer_names, text=sts.texts)
def test_offsets_of_a_prefix_are_zero(name: str, text: str) -> None:
    frame, n_added = pair_room(name, {"prefix": "the fox"})
    batch = Chunker(built(name), max_tokens=6 + n_added, overlap_tokens=0, prefix="the fox", offsets=True)(text)
    assert batch.offsets is not None
    for i, length in enumerate(batch.lengths.tolist()):
        first = batch.width - length if batch.padding_side == "left" else 0
        assert not batch.offsets[i, first : first + len(frame.before)].any()
        assert not batch.offsets[i, first + length - len(frame.after) : first + length].any()


def test_an_empty_prefix_still_makes_a_pair() -> None:
    batch = Chunker(built("bert_like"), max_tokens=8, overlap_tokens=0, prefix="")("fox")
    cls_id, sep_id = (built("bert_like").token_to_id(token) for token in ("[CLS]", "[SEP]"))
    assert batch.input_ids[0, :2].tolist() == [cls_id, sep_id]


@pytest.mark.parametrize("name", NAMES)
def test_prefix_specials_are_text_as_in_a_document(name: str) -> None:
    question = SPECIAL_OF.get(name, "[SEP]")
    frame = oracle.frame(built(name), prefix=question)
    batch = Chunker(built(name), max_tokens=frame.n_added + 4, overlap_tokens=0, prefix=question)("fox")
    assert batch.input_ids[0, : len(frame.before)].tolist() == frame.before


@given(text=sts.texts, room=st.integers(1, 14), tail=sts.tails)
def test_baked_in_truncation_and_padding_are_ignored(text: str, room: int, tail: str) -> None:
    options: dict[str, Any] = {"max_tokens": room + 2, "overlap_tokens": 0, "tail": tail}
    baked = Chunker(built("bert_like_with_baked_lengths"), **options)(text)
    assert baked.input_ids.tolist() == Chunker(built("bert_like"), **options)(text).input_ids.tolist()
    assert int(baked.fresh_tokens.sum()) == len(oracle.content(built("bert_like"), text).ids)


def test_attributes_say_what_a_row_can_hold() -> None:
    chunker = Chunker(built("bert_like"), max_tokens=20, overlap_tokens=5)
    assert (chunker.max_tokens, chunker.overlap_tokens, chunker.room_tokens) == (20, 5, 18)
    assert isinstance(chunker.explain(), str)
    assert chunker.explain()
