"""Which tokens each chunk holds: windows, tails, selection, coverage. The oracle is beside the code in `oracle.py`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
import strategies as sts
from longctx import ChunkBatch, Chunker
from tokenizers_built import built


def spans_by_document(batch: ChunkBatch) -> list[list[tuple[int, int]]]:
    """The token spans of each document's rows, in order."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(int(batch.document_index.max(initial=-1)) + 1)]
    for document, (start, end) in zip(batch.document_index.tolist(), batch.token_spans.tolist(), strict=True):
        spans[document].append((start, end))
    return spans


def n_tokens_of(lengths: sts.Lengths, texts: list[str]) -> list[int]:
    return [len(oracle.content(lengths.tokenizer, text).ids) for text in texts]


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails)
def test_token_spans_are_those_of_the_oracle(lengths: sts.Lengths, texts: list[str], tail: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, **lengths.options)(texts)
    expected = [oracle.TAILS[tail](n, lengths.room, lengths.overlap) for n in n_tokens_of(lengths, texts)]
    assert spans_by_document(batch) == expected


@given(n_tokens=st.integers(0, 400), room=st.integers(1, 40), data=st.data(), tail=sts.tails)
def test_windows_over_counted_words_are_those_of_the_oracle(n_tokens: int, room: int, data: st.DataObject, tail: str) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    chunker = Chunker(built("words"), max_tokens=room, overlap_tokens=overlap, tail=tail)
    batch = chunker("fox " * n_tokens)
    assert spans_by_document(batch) == [oracle.TAILS[tail](n_tokens, room, overlap)]


def test_every_small_length_room_and_overlap_gives_the_oracles_windows_for_every_tail() -> None:
    texts = ["fox " * n for n in range(40)]
    for tail, windows in oracle.TAILS.items():
        for room in range(1, 9):
            for overlap in range(room):
                batch = Chunker(built("words"), max_tokens=room, overlap_tokens=overlap, tail=tail)(texts)
                expected = [windows(n, room, overlap) for n in range(40)]
                assert spans_by_document(batch) == expected, (tail, room, overlap)


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_every_token_is_in_at_least_one_chunk(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    for spans, n_tokens in zip(spans_by_document(batch), n_tokens_of(lengths, texts), strict=True):
        assert {i for start, end in spans for i in range(start, end)} == set(range(n_tokens))


@given(lengths=sts.lengths(), texts=sts.documents)
def test_neighbours_share_exactly_the_overlap(lengths: sts.Lengths, texts: list[str]) -> None:
    for spans in spans_by_document(Chunker(lengths.tokenizer, tail="keep", **lengths.options)(texts)):
        assert all(before[1] - after[0] == lengths.overlap for before, after in pairwise(spans))


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_no_row_holds_only_overlap(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    is_empty = batch.token_spans[:, 0] == batch.token_spans[:, 1]
    assert (batch.fresh_tokens[~is_empty] > 0).all()


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_no_chunk_lies_inside_another(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    for spans in spans_by_document(batch):
        for i, (start, end) in enumerate(spans):
            assert not any(s <= start and end <= e for j, (s, e) in enumerate(spans) if j != i)


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_spans_advance_at_both_ends(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    for spans in spans_by_document(batch):
        for before, after in pairwise(spans):
            assert before[0] < after[0]
            assert before[1] < after[1]


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_no_row_exceeds_max_tokens(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    assert batch.width <= lengths.max_tokens
    assert (batch.lengths <= lengths.max_tokens).all()


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails)
def test_fresh_tokens_are_those_no_earlier_chunk_held(lengths: sts.Lengths, texts: list[str], tail: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, **lengths.options)(texts)
    expected = [count for spans in spans_by_document(batch) for count in oracle.fresh_tokens(spans)]
    assert batch.fresh_tokens.tolist() == expected


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails, boundary=sts.boundaries)
def test_fresh_tokens_add_up_to_the_documents_tokens(lengths: sts.Lengths, texts: list[str], tail: str, boundary: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, boundary=boundary, **lengths.options)(texts)
    sums = np.bincount(batch.document_index, weights=batch.fresh_tokens, minlength=len(texts))
    assert sums.tolist() == n_tokens_of(lengths, texts)


@given(lengths=sts.lengths(), texts=sts.documents)
def test_every_document_has_a_row_in_order(lengths: sts.Lengths, texts: list[str]) -> None:
    batch = Chunker(lengths.tokenizer, **lengths.options)(texts)
    assert np.unique(batch.document_index).tolist() == list(range(len(texts)))
    assert (np.diff(batch.document_index) >= 0).all()
    assert batch.n_documents == len(texts) == len(batch.coverage)


@given(lengths=sts.lengths(), texts=sts.documents, tail=sts.tails)
def test_coverage_without_select_is_complete(lengths: sts.Lengths, texts: list[str], tail: str) -> None:
    batch = Chunker(lengths.tokenizer, tail=tail, **lengths.options)(texts)
    for coverage, n_tokens in zip(batch.coverage, n_tokens_of(lengths, texts), strict=True):
        assert (coverage.tokens, coverage.tokens_read, coverage.tokens_unread) == (n_tokens, n_tokens, 0)
        assert coverage.complete
        assert coverage.fraction == 1.0
        assert coverage.chunks == coverage.chunks_read
        assert coverage.reason == ("" if n_tokens else "empty document")


@st.composite
def selections(draw: st.DrawFn) -> dict[str, Any]:
    names = ["head", "tail", "head_tail", "random", "tfidf"]
    return {"select": draw(st.sampled_from(names)), "max_chunks": draw(st.integers(1, 6))}


@given(lengths=sts.lengths(max_room=5), texts=sts.documents, tail=sts.tails, selection=selections())
def test_selected_rows_are_a_subset_in_document_order(lengths: sts.Lengths, texts: list[str], tail: str, selection: dict[str, Any]) -> None:
    everything = Chunker(lengths.tokenizer, tail=tail, **lengths.options)(texts)
    chosen = Chunker(lengths.tokenizer, tail=tail, **lengths.options, **selection)(texts)
    for spans, of_all in zip(spans_by_document(chosen), spans_by_document(everything), strict=True):
        assert spans == [span for span in of_all if span in spans]
        assert len(spans) == min(selection["max_chunks"], len(of_all))


@given(lengths=sts.lengths(max_room=5), texts=sts.documents, selection=selections())
def test_coverage_says_what_select_left_out(lengths: sts.Lengths, texts: list[str], selection: dict[str, Any]) -> None:
    chosen = Chunker(lengths.tokenizer, **lengths.options, **selection)(texts)
    for coverage, spans, n_tokens in zip(chosen.coverage, spans_by_document(chosen), n_tokens_of(lengths, texts), strict=True):
        read = {i for start, end in spans for i in range(start, end)}
        assert (coverage.tokens, coverage.tokens_read) == (n_tokens, len(read))
        assert coverage.chunks_read == len(spans)
        assert coverage.chunks == len(oracle.keep(n_tokens, lengths.room, lengths.overlap))
        if not coverage.complete:
            assert coverage.reason == f"select={selection['select']!r}, max_chunks={selection['max_chunks']}"


@given(lengths=sts.lengths(max_room=5), text=sts.texts, k=st.integers(1, 6))
def test_head_tail_and_head_tail_take_the_oracles_chunks(lengths: sts.Lengths, text: str, k: int) -> None:
    windows = oracle.keep(n_tokens_of(lengths, [text])[0], lengths.room, lengths.overlap)
    for select in ("head", "tail", "head_tail"):
        batch = Chunker(lengths.tokenizer, select=select, max_chunks=k, **lengths.options)(text)
        expected = [windows[i] for i in oracle.selected(len(windows), select, k)]
        assert spans_by_document(batch) == [expected], select


@given(lengths=sts.lengths(max_room=4), texts=sts.documents, selection=selections(), seed=st.integers(0, 2**63 - 1))
def test_selection_repeats_by_seed_and_ignores_the_other_documents(
    lengths: sts.Lengths, texts: list[str], selection: dict[str, Any], seed: int
) -> None:
    options = {**lengths.options, **selection, "seed": seed}
    together = spans_by_document(Chunker(lengths.tokenizer, **options)(texts))
    alone = [spans_by_document(Chunker(lengths.tokenizer, **options)(text))[0] for text in texts]
    assert together == alone


def test_random_selection_follows_the_seed() -> None:
    def draw(seed: int) -> list[list[tuple[int, int]]]:
        options: dict[str, Any] = {"max_tokens": 4, "overlap_tokens": 0, "select": "random", "max_chunks": 5}
        return spans_by_document(Chunker(built("words"), seed=seed, **options)("fox dog " * 200))

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(10)}) > 5


def test_tfidf_prefers_the_chunk_whose_words_are_nowhere_else() -> None:
    text = "the dog " * 20 + "quick brown encoder chunk " + "the dog " * 20
    batch = Chunker(built("words"), max_tokens=4, overlap_tokens=0, select="tfidf", max_chunks=1)(text)
    assert text[slice(*batch.char_spans[0].tolist())] == "quick brown encoder chunk"


@given(words=st.lists(st.sampled_from(["fox", "dog", "the", "quick", "lazy"]), max_size=60), room=st.integers(2, 7), k=st.integers(1, 5))
def test_tfidf_takes_the_oracles_chunks(words: list[str], room: int, k: int) -> None:
    chunker = Chunker(built("words"), max_tokens=room, overlap_tokens=1, select="tfidf", max_chunks=k)
    text = " ".join(words)
    ids, windows = oracle.content(built("words"), text).ids, oracle.keep(len(words), room, 1)
    assert spans_by_document(chunker(text)) == [[windows[i] for i in oracle.tfidf(ids, windows, k)]]


def test_equal_seeds_draw_differently_from_different_documents_of_a_length() -> None:
    texts = [f"{word} " * 40 for word in ("fox", "dog", "the", "quick", "lazy", "runs", "chunk", "row")]
    chunker = Chunker(built("words"), max_tokens=4, overlap_tokens=0, select="random", max_chunks=2)
    assert len({tuple(spans) for spans in spans_by_document(chunker(texts))}) > 1


@given(lengths=sts.lengths(), k=st.integers(1, 4), text=sts.texts)
def test_select_that_keeps_all_chunks_changes_nothing(lengths: sts.Lengths, k: int, text: str) -> None:
    whole = Chunker(lengths.tokenizer, **lengths.options)(text)
    assume(whole.n_rows <= k)
    for select in ("head", "tail", "head_tail", "random", "tfidf"):
        chosen = Chunker(lengths.tokenizer, select=select, max_chunks=k, **lengths.options)(text)
        assert np.array_equal(chosen.input_ids, whole.input_ids)
        assert chosen.coverage[0] == whole.coverage[0]
