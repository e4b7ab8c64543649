"""The slow, obvious chunker: plain Python over `tokenizers`, one document at a time. What longctx does must equal this."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokenizers import Tokenizer

Window = tuple[int, int]


@dataclass(frozen=True)
class Content:
    """A document as `tokenizers` reads it, without special tokens."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class Frame:
    """What a row has around its chunk."""

    before: list[int]
    after: list[int]
    types_before: list[int]
    type_of_chunk: int
    types_after: list[int]

    @property
    def n_added(self) -> int:
        return len(self.before) + len(self.after)

    def row(self, content: list[int]) -> list[int]:
        return [*self.before, *content, *self.after]

    def types(self, n_content: int) -> list[int]:
        return [*self.types_before, *[self.type_of_chunk] * n_content, *self.types_after]


def plain(tokenizer: Tokenizer, specials: str = "text") -> Tokenizer:
    """A copy that neither truncates nor pads, and reads the text of special tokens as ``specials`` says."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = specials == "text"
    return copy


def content(tokenizer: Tokenizer, text: str, specials: str = "text") -> Content:
    encoding = plain(tokenizer, specials).encode(text, add_special_tokens=False)
    return Content(list(encoding.ids), list(encoding.offsets))


def frame(tokenizer: Tokenizer, prefix: str | None = None, suffix: str | None = None) -> Frame:
    """Reads the special tokens off an encoding of a chunk that is only ``a``."""
    tokenizer = plain(tokenizer)
    if prefix is not None:
        encoding, sequence = tokenizer.encode(prefix, "a"), 1
    elif suffix is not None:
        encoding, sequence = tokenizer.encode("a", suffix), 0
    else:
        encoding, sequence = tokenizer.encode("a"), 0
    chunk = [i for i, s in enumerate(encoding.sequence_ids) if s == sequence]
    first, end = chunk[0], chunk[-1] + 1
    ids, types = list(encoding.ids), list(encoding.type_ids)
    return Frame(ids[:first], ids[end:], types[:first], types[first], types[end:])


def keep(n_tokens: int, room: int, overlap: int) -> list[Window]:
    windows, start = [], 0
    while True:
        end = min(start + room, n_tokens)
        windows.append((start, end))
        if end == n_tokens:
            return windows
        start += room - overlap


def backfill(n_tokens: int, room: int, overlap: int) -> list[Window]:
    windows = keep(n_tokens, room, overlap)
    windows[-1] = (max(0, n_tokens - room), n_tokens)
    return windows


def evenly(start: int, end: int, n_windows: int, overlap: int) -> list[Window]:
    """Windows over ``[start, end)`` that share exactly ``overlap`` tokens; the longer ones, by one token, come first."""
    total = (end - start) + (n_windows - 1) * overlap
    windows = []
    for i in range(n_windows):
        size = total // n_windows + (1 if i < total % n_windows else 0)
        windows.append((start, start + size))
        start += size - overlap
    return windows


def balance(n_tokens: int, room: int, overlap: int) -> list[Window]:
    return evenly(0, n_tokens, len(keep(n_tokens, room, overlap)), overlap)


def merge(n_tokens: int, room: int, overlap: int) -> list[Window]:
    windows = keep(n_tokens, room, overlap)
    start, end = windows[-1]
    if len(windows) < 2 or 2 * (end - start) >= room:
        return windows
    return [*windows[:-2], *evenly(windows[-2][0], end, 2, overlap)]


TAILS = {"keep": keep, "backfill": backfill, "balance": balance, "merge": merge}


def selected(n_chunks: int, select: str | None, max_chunks: int | None) -> list[int]:
    """Chunks that become rows, for the choices that need no text."""
    everything = list(range(n_chunks))
    if select is None or max_chunks is None or n_chunks <= max_chunks:
        return everything
    if select == "head":
        return everything[:max_chunks]
    if select == "tail":
        return everything[n_chunks - max_chunks :]
    assert select == "head_tail"
    n_last = max_chunks // 2
    return everything[: max_chunks - n_last] + everything[n_chunks - n_last :]


def tfidf(ids: list[int], windows: list[Window], max_chunks: int) -> list[int]:
    """The chunks whose tokens are, on average, rarest in the other chunks; of equals the earlier."""
    chunks = [ids[start:end] for start, end in windows]
    if len(chunks) <= max_chunks:
        return list(range(len(chunks)))

    def rarity(token: int) -> float:
        return math.log(len(chunks) / sum(token in chunk for chunk in chunks))

    scores = [sum(rarity(token) for token in chunk) / max(len(chunk), 1) for chunk in chunks]
    return sorted(sorted(range(len(chunks)), key=lambda i: (-scores[i], i))[:max_chunks])


def fresh_tokens(windows: list[Window]) -> list[int]:
    """For each window, its tokens that no earlier window held."""
    seen: set[int] = set()
    counts = []
    for start, end in windows:
        new = set(range(start, end)) - seen
        counts.append(len(new))
        seen |= new
    return counts


def char_span(offsets: list[tuple[int, int]], window: Window) -> tuple[int, int]:
    """The shortest passage that holds all tokens of the window."""
    spans = offsets[window[0] : window[1]]
    if not spans:
        return (0, 0)
    return (min(start for start, _ in spans), max(end for _, end in spans))


def padded(row: list[int], width: int, pad_id: int, side: str) -> list[int]:
    padding = [pad_id] * (width - len(row))
    return padding + row if side == "left" else row + padding
