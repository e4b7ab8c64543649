"""Every Unicode code point in four contexts: where tokenizers that are nearly right differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import pytest
from tokenizers import Encoding, Tokenizer

import oracle
from longctx import ChunkBatch, Chunker
from test_exactness import REAL

ROW_TOKENS = 64  # no context of one code point is longer
DOCUMENTS_PER_CALL = 20_000


def code_points(step: int, first: int) -> Iterator[str]:
    """All below U+3000, then every ``step``-th; surrogates are not text."""
    for code_point in chain(range(0x3000), range(0x3000 + first, 0x110000, step)):
        if not 0xD800 <= code_point <= 0xDFFF:
            yield chr(code_point)


def in_contexts(characters: Iterator[str]) -> Iterator[str]:
    for character in characters:
        yield from (character, f"a{character}b", f"a {character}", character * 2)


def flat_reference(encodings: list[Encoding]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    lengths = [len(encoding) for encoding in encodings]
    ids = list(chain.from_iterable(encoding.ids for encoding in encodings))
    return lengths, ids, list(chain.from_iterable(encoding.offsets for encoding in encodings))


def equal_at_once(batch: ChunkBatch, encodings: list[Encoding]) -> bool:
    """Whether all rows equal, compared as flat arrays."""
    lengths, ids, offsets = flat_reference(encodings)
    if batch.lengths.tolist() != lengths or batch.offsets is None:
        return False
    is_token = batch.attention_mask.astype(bool)
    return np.array_equal(batch.input_ids[is_token], ids) and np.array_equal(batch.offsets[is_token], offsets)


def differing(batch: ChunkBatch, encodings: list[Encoding], texts: list[str]) -> list[str]:
    """The texts whose ids or offsets differ, escaped."""
    assert batch.offsets is not None
    wrong = []
    for i, encoding in enumerate(encodings):
        n = int(batch.lengths[i])
        pairs = [tuple(pair) for pair in batch.offsets[i, :n].tolist()]
        if batch.input_ids[i, :n].tolist() != encoding.ids or pairs != encoding.offsets:
            wrong.append(ascii(texts[i]))
    return wrong


@pytest.mark.parametrize("name", REAL)
def test_every_code_point_in_four_contexts_equals_tokenizers(name: str, real_tokenizer: Callable[[str], Tokenizer], is_deep: bool) -> None:
    step = 1 if is_deep else 7 * len(REAL)  # between them, the tokenizers see every seventh code point
    texts = list(in_contexts(code_points(step, 0 if is_deep else 7 * REAL.index(name))))
    chunker = Chunker(real_tokenizer(name), max_tokens=ROW_TOKENS, overlap_tokens=0, offsets=True)
    reference = oracle.plain(real_tokenizer(name))
    wrong: list[str] = []
    for start in range(0, len(texts), DOCUMENTS_PER_CALL):
        part = texts[start : start + DOCUMENTS_PER_CALL]
        batch, encodings = chunker(part), reference.encode_batch(part)
        if not equal_at_once(batch, encodings):
            wrong += differing(batch, encodings, part) or ["a document has several rows"]
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ: {wrong[:20]}"
