"""A Hypothesis strategy that builds tokenizers: small vocabularies, merges, scores and normalizers as they come."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from tokenizers_built import CLIP_WORDS, merges_of_all_splits, quotes_and_accents

LETTERS = "abcàβбשあ中각🎉\u0301ſK1.'"  # few, so that drawn words and drawn texts meet
PIECES = st.text(LETTERS, min_size=1, max_size=4)
texts = st.one_of(
    st.text("בשあ中각🎉β", min_size=5, max_size=40),  # words of many characters beyond ASCII
    st.text(LETTERS + " ", max_size=40),
    st.text(LETTERS + ' \t\n\r\u00a0\u3000\u0085\u200bABÀİẞ2-_"[]`\u2581,\u0323\u0600\u00a8ﬁ', max_size=40),
    st.lists(
        st.one_of(PIECES, st.sampled_from([" ", "  ", "\n", " \n", "'s", "'LL ", "a" * 17, "abc" * 40, "\u2581", "''", "<|ENDoftext|>"])),
        max_size=20,
    ).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


def _vocabulary(pieces: Sequence[str]) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


@st.composite
def wordpiece(draw: st.DrawFn) -> Tokenizer:
    """WordPiece of the BERT family with any options of its normalizer."""
    pieces = draw(st.lists(st.one_of(PIECES, PIECES.map("##".__add__)), max_size=40))
    limit = draw(st.sampled_from([1, 3, 16, 100]))
    vocabulary = _vocabulary(["[UNK]", "a", "##a", *pieces])
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=limit))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=draw(st.booleans()),
        handle_chinese_chars=draw(st.booleans()),
        strip_accents=draw(st.sampled_from([None, True, False])),
        lowercase=draw(st.booleans()),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@st.composite
def unigram(draw: st.DrawFn) -> Tokenizer:
    """Unigram with few scores, so that many ways to cut a word tie."""
    pieces = draw(st.lists(st.one_of(PIECES, PIECES.map("\u2581".__add__)), max_size=40, unique=True))
    scores = st.sampled_from([-1.0, -1.5, -2.0, -3.0])
    entries = [("<unk>", 0.0), ("\u2581", draw(scores)), *((piece, draw(scores)) for piece in pieces if piece != "\u2581")]
    tokenizer = Tokenizer(models.Unigram(entries, unk_id=0, byte_fallback=False))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    splits_first = draw(st.booleans())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if splits_first else metaspace
    if draw(st.booleans()):
        steps = quotes_and_accents(lowercase=draw(st.booleans()), keep_accents=draw(st.booleans()))
        if draw(st.booleans()):
            steps.append(normalizers.Replace(Regex(" {2,}"), " "))
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


@st.composite
def byte_level_bpe(draw: st.DrawFn) -> Tokenizer:
    """Byte-level BPE whose merges join what earlier merges made."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    drawn = draw(st.lists(st.one_of(PIECES, PIECES.map(" ".__add__)), max_size=30))
    merges: dict[tuple[str, str], None] = {}
    for word in map(_symbols, drawn):
        at = draw(st.integers(1, max(1, len(word) - 1)))
        for left, right in _merges_of(word[:at]) + _merges_of(word[at:]) + ([(word[:at], word[at:])] if word[at:] else []):
            merges[left, right] = None
    tokenizer = Tokenizer(models.BPE(_vocabulary([*symbols, *(a + b for a, b in merges)]), list(merges), ignore_merges=draw(st.booleans())))
    if draw(st.booleans()):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split
    if draw(st.booleans()):
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=draw(st.booleans()))
    return tokenizer


@st.composite
def clip(draw: st.DrawFn) -> Tokenizer:
    """As CLIP: lowered, white space removed, and other tokens at the ends of words."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: dict[tuple[str, str], None] = {}
    for word in map(_symbols, draw(st.lists(PIECES.map(str.lower), max_size=30))):
        if draw(st.booleans()):
            merges |= dict.fromkeys(_merges_of(word))
        else:
            merges |= dict.fromkeys([*_merges_of(word[:-1]), (word[:-1], word[-1] + "</w>")] if word[1:] else [])
    entries = [*symbols, *(symbol + "</w>" for symbol in symbols), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(_vocabulary(entries), list(merges), end_of_word_suffix="</w>"))
    normalize = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence(normalize if draw(st.booleans()) else normalize[1:])
    controls = r"<\|startoftext\|>|<\|endoftext\|>|" if draw(st.booleans()) else ""
    split = pre_tokenizers.Split(Regex(controls + CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


@st.composite
def sentencepiece_bpe(draw: st.DrawFn) -> Tokenizer:
    """BPE on characters and bytes whose pieces are made in every way there is."""
    drawn = draw(st.lists(st.one_of(PIECES, PIECES.map("\u2581".__add__), st.sampled_from(["\u2581\u2581", "a\u2581"])), max_size=30))
    parts = st.sampled_from([lambda piece, n: piece[:n], lambda piece, n: piece[-n:]])  # of which it is made
    pieces = list(dict.fromkeys(draw(parts)(piece, n) for piece in drawn for n in range(2, len(piece) + 1)))
    pieces = draw(st.permutations(pieces))  # not only short ones first
    known = draw(st.sets(st.sampled_from(sorted(set(LETTERS)))))
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = _vocabulary(["<unk>", *bytes_, "\u2581", *sorted(known), *pieces])
    merges = merges_of_all_splits(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if draw(st.booleans()):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        scheme = draw(st.sampled_from(["always", "first", "never"]))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return tokenizer


def _symbols(word: str) -> str:
    """A word as byte-level vocabularies write it."""
    return "".join(part for part, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word))


def _merges_of(word: str) -> list[tuple[str, str]]:
    """A word, put together symbol by symbol from its start."""
    return [(word[:i], word[i]) for i in range(1, len(word))]
