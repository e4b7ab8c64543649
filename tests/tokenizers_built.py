"""Small tokenizers of every family, made in process from a few lines: no files, no network, the same in every process.

Run as a program (``python tests/tokenizers_built.py FOLDER ../shared/data/tokenizers``) it writes families with the vocabularies of others.

`tokenizers` trains BPE reproducibly, but WordPiece and Unigram not, so their vocabularies are counted here.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox runs away quickly.",
    "A document is cut into chunks, and a chunk is what one row of the encoder can hold.",
    "Long documents lose their endings when nobody looks: reading, reads, reader, readers, unread.",
    "Der Fluß fließt über die Brücke, während naïve Gäste im Café Crème brûlée essen.",
    "Быстрая коричневая лиса прыгает через ленивую собаку. Собака спит.",
    "Η γρήγορη καφέ αλεπού πηδά πάνω από τον τεμπέλη σκύλο.",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "快速的棕色狐狸跳过懒狗。 한국어 문장도 하나 있습니다.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول. השועל החום המהיר",
    "numbers 0 1 2 3 10 42 2026 3.14 and signs + - * / = ( ) [ ] { } < > @ # $ % & ! ? ' \" 🎉 👩‍👩‍👧 🇩🇪",
]
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


FAMILIES = (("t5-small", "albert"), ("deberta-v3-base", "xlnet"), ("gpt2", "clip"))  # whose vocabulary, which family
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def id_of(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that must be there."""
    token_id = tokenizer.token_to_id(token)
    assert token_id is not None, token
    return int(token_id)


def _bert_template(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    ids = [(name, id_of(tokenizer, name)) for name in ("[CLS]", "[SEP]")]
    return processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ids)


def bert_like() -> Tokenizer:
    """WordPiece, lower-casing, pairs with token types, as bert-base-uncased."""
    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for line in CORPUS for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(line))]
    starts = {word[:n] for word in words for n in (1, 2, 3, 6)}
    rests = {"##" + word[i : i + n] for word in words for i in range(1, len(word)) for n in (1, 2, 3)}
    vocabulary = [*BERT_SPECIALS, *sorted(starts), *sorted(rests)]
    model = models.WordPiece(dict(zip(vocabulary, range(len(vocabulary)), strict=True)), unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.add_special_tokens(BERT_SPECIALS)
    tokenizer.post_processor = _bert_template(tokenizer)
    return tokenizer


def bert_like_with_baked_lengths() -> Tokenizer:
    """The same with truncation to 8 and padding to 16 stored in it, as some published files have."""
    tokenizer = bert_like()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    return tokenizer


def _byte_level(add_prefix_space: bool, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=specials,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _roberta_like(add_prefix_space: bool) -> Tokenizer:
    tokenizer = _byte_level(add_prefix_space, ROBERTA_SPECIALS)
    end, start = ("</s>", id_of(tokenizer, "</s>")), ("<s>", id_of(tokenizer, "<s>"))
    tokenizer.post_processor = processors.RobertaProcessing(end, start, trim_offsets=True, add_prefix_space=add_prefix_space)
    return tokenizer


def roberta_like() -> Tokenizer:
    """Byte-level BPE; offsets without the blanks; two separators between the halves of a pair."""
    return _roberta_like(add_prefix_space=False)


def roberta_like_prefix_space() -> Tokenizer:
    """The same, which reads a text as if it began with a blank."""
    return _roberta_like(add_prefix_space=True)


def gpt2_like() -> Tokenizer:
    """Byte-level BPE that adds nothing and has no padding token."""
    tokenizer = _byte_level(add_prefix_space=False, specials=["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def no_specials() -> Tokenizer:
    """Byte-level BPE without any special token and without a post-processor."""
    return _byte_level(add_prefix_space=False, specials=[])


def _unigram(specials: list[str]) -> Tokenizer:
    words = ["\u2581" + word for line in CORPUS for word in line.split()]
    pieces = Counter(word[i : i + n] for word in words for i in range(len(word)) for n in (1, 2, 3, 5))
    total = sum(pieces.values())
    scored = [(piece, round(math.log(count / total), 4)) for piece, count in sorted(pieces.items())]
    vocabulary = [*((special, 0.0) for special in specials), *scored]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=specials.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(specials)
    return tokenizer


def t5_like() -> Tokenizer:
    """Unigram and Metaspace; only a trailing </s>."""
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"])
    end = ("</s>", id_of(tokenizer, "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end])
    return tokenizer


def xlnet_like() -> Tokenizer:
    """Specials at the end, padding on the left with a token type of its own."""
    tokenizer = _unigram(["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"])
    ids = [(name, id_of(tokenizer, name)) for name in ("<sep>", "<cls>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 <sep>:0 <cls>:2", pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2", special_tokens=ids
    )
    pad_id = id_of(tokenizer, "<pad>")
    tokenizer.enable_padding(direction="left", pad_id=pad_id, pad_type_id=3, pad_token="<pad>")
    return tokenizer


def quotes_and_accents(lowercase: bool, keep_accents: bool = False) -> list[normalizers.Normalizer]:
    """The normalizers of ALBERT and XLNet before the character map."""
    accents = [] if keep_accents else [normalizers.NFKD(), normalizers.StripAccents()]
    return [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), *accents, *([normalizers.Lowercase()] if lowercase else [])]


def albert_like() -> Tokenizer:
    """Unigram after accents are removed and letters lowered."""
    tokenizer = _unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.normalizer = normalizers.Sequence(quotes_and_accents(lowercase=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = _bert_template(tokenizer)
    return tokenizer


def as_clip(tokenizer: Tokenizer) -> Tokenizer:
    """CLIP with the merges of a byte-level BPE tokenizer that do not begin with a blank, inside of words and at their ends."""
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    merges = [(left, right + end) for left, right in merges if "\u0120" not in left + right for end in ("", "</w>")]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    controls = ["<|startoftext|>", "<|endoftext|>"]
    entries = [*symbols, *(symbol + "</w>" for symbol in symbols), *(left + right for left, right in merges), *controls]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    clip = Tokenizer(models.BPE(vocabulary, merges, unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    clip.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(r"<\|startoftext\|>|<\|endoftext\|>|" + CLIP_WORDS), behavior="removed", invert=True)
    clip.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    clip.add_special_tokens(controls)
    start, end = ((control, id_of(clip, control)) for control in controls)
    clip.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    return clip


def as_family(tokenizer: Tokenizer, family: str) -> Tokenizer:
    """The tokenizer of ``family`` with the vocabulary, and the character map, of another one."""
    if family == "clip":
        return as_clip(tokenizer)
    definition = json.loads(tokenizer.to_str())
    normalizer = definition["normalizer"]
    maps = [member for member in normalizer.get("normalizers", [normalizer]) if member["type"] == "Precompiled"]
    made = Tokenizer.from_str(json.dumps(definition | {"normalizer": None}))
    steps = quotes_and_accents(lowercase=family == "albert")
    steps += [normalizers.Precompiled(base64.b64decode(member["precompiled_charsmap"])) for member in maps]
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    if family == "albert":
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    else:
        made.pre_tokenizer = metaspace
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    made.normalizer = normalizers.Sequence(steps)
    return made


def clip_like() -> Tokenizer:
    """Byte-level BPE on lowered text without white space, with other tokens at the ends of words."""
    return as_clip(no_specials())


def merges_of_all_splits(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every two entries that make a third, by the third: how vocabularies of SentencePiece become merges."""
    pieces = [piece for piece in vocabulary if len(piece) > 1 and not piece.startswith("<")]
    splits = [(piece[:i], piece[i:]) for piece in pieces for i in range(1, len(piece))]
    return [(left, right) for left, right in splits if left in vocabulary and right in vocabulary]


def llama_like() -> Tokenizer:
    """BPE on characters with tokens of bytes; only a leading <s>."""
    words = ["\u2581" + word for line in CORPUS[:4] for word in line.split()]
    counted = Counter(word[i : i + n] for word in words for i in range(len(word)) for n in (2, 3, 4))
    pieces = [piece for piece, count in sorted(counted.items(), key=lambda item: (-item[1], len(item[0]), item[0])) if count > 1]
    characters = sorted({character for line in CORPUS[:4] for character in line} - {" "})
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, "\u2581", *characters]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    model = models.BPE(vocabulary, merges_of_all_splits(vocabulary), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    start = ("<s>", id_of(tokenizer, "<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[start])
    return tokenizer


def words() -> Tokenizer:
    """One token for each word or run of punctuation, so that a test can count by eye."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


_BUILDERS: dict[str, Callable[[], Tokenizer]] = {
    builder.__name__: builder
    for builder in (
        bert_like,
        bert_like_with_baked_lengths,
        roberta_like,
        roberta_like_prefix_space,
        gpt2_like,
        no_specials,
        t5_like,
        xlnet_like,
        albert_like,
        clip_like,
        llama_like,
        words,
    )
}
NAMES = sorted(_BUILDERS)


@cache
def _json_of(name: str) -> str:
    return str(_BUILDERS[name]().to_str())


@cache
def built(name: str) -> Tokenizer:
    """The tokenizer called ``name``, trained once. Shared: do not change it."""
    return Tokenizer.from_str(_json_of(name))


def fresh(name: str) -> Tokenizer:
    """A copy that a test may change."""
    return Tokenizer.from_str(_json_of(name))


def main(folder: Path, tokenizers_folder: Path) -> None:
    """Write the families that are not among published tokenizers, for benches: ``FOLDER/<base> as <family>/tokenizer.json``."""
    for base, family in FAMILIES:
        tokenizer = as_family(Tokenizer.from_file(str(tokenizers_folder / base / "tokenizer.json")), family)
        target = folder / f"{base} as {family}"
        target.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(target / "tokenizer.json"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
