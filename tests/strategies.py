"""Hypothesis strategies: hostile texts, tokenizers and lengths that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tokenizers import Tokenizer

import oracle
from tokenizers_built import NAMES, built

FRAGMENTS = [
    "fox", "dogs ", " the lazy ", "reading unreadable ", "A. B! ", "\n", "\r\n", "\n\n", "\t", "  ", "\u00a0", "\u3000", "\u2028",
    "é", "e\u0301", "o\u0302\u0323", "\u0301", "ß", "İ", "ﬁ", "Ǆ", "Σας", "naïve café ", "Быстрая ", "собака", "αλεπού ",
    "吾輩は猫", "狐狸", "한국어 ", "각", "ไทย", "हिन्दी ", "العربية ", "עברית", "🎉", "👩‍👩‍👧", "🇩🇪", "👍🏽", "\u200b", "\u200d", "\ufeff",
    "\u00ad", "\x00", "\x0b", "\x7f", "\ufffd", "\ue000", "\U0010ffff", "\U0001d518", "1234", "3.14", "...", "'s", "@#$",
    "[SEP]", "[MASK]", "<s>", "</s>", "<pad>", "<|endoftext|>", "<cls>", "[sep]", "a" * 101, "\u2581", "Ġ",
]  # fmt: skip

characters = st.characters(exclude_categories=["Cs"])
texts = st.one_of(
    st.just(""),
    st.text(characters, max_size=60),
    st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(characters, max_size=3)), max_size=25).map(" ".join),
)
documents = st.lists(texts, min_size=1, max_size=5)
tokenizer_names = st.sampled_from(NAMES)
tails = st.sampled_from(["keep", "backfill", "balance", "merge"])
boundaries = st.sampled_from(["token", "word", "sentence", "paragraph"])


@dataclass(frozen=True)
class Lengths:
    """A tokenizer and row lengths that leave it room."""

    name: str
    room: int
    overlap: int

    @property
    def tokenizer(self) -> Tokenizer:
        return built(self.name)

    @property
    def max_tokens(self) -> int:
        return self.room + oracle.frame(self.tokenizer).n_added

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of a Chunker."""
        return {"max_tokens": self.max_tokens, "overlap_tokens": self.overlap}


@st.composite
def lengths(draw: st.DrawFn, max_room: int = 16, names: Sequence[str] = NAMES) -> Lengths:
    room = draw(st.integers(1, max_room))
    return Lengths(draw(st.sampled_from(names)), room, draw(st.integers(0, room - 1)))
