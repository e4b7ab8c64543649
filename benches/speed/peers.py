"""One adapter for each way to turn documents into tokens; ``PEERS`` lists them.

An adapter is constructed from a tokenizer's file, called with documents, and says afterwards how much came out, so that nobody is fast by
doing less. It uses the fastest documented call of its package that gives what ``product`` says. It imports its package inside its methods:
each runs in an environment of its own, that has no other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

MAX_TOKENS, OVERLAP_TOKENS = 512, 64


class Peer:
    """What the measuring process needs of a package.

    Attributes:
        package: name on the package index, for the version.
        environment: ``"own"`` for the interpreter that has longctx, else a folder of ``.bench/``, made by ``make bench-peers``.
        imports: modules to load before the clock starts.
        product: what a call gives.
        is_splitter: it cuts text by counting tokens, and is too slow for a book.
    """

    package: ClassVar[str]
    environment: ClassVar[str] = "peers"
    imports: ClassVar[tuple[str, ...]]
    product: ClassVar[str] = "ids"
    is_splitter: ClassVar[bool] = False

    def __init__(self, path: Path, n_threads: int) -> None:
        raise NotImplementedError

    def __call__(self, documents: list[str]) -> Any:
        """Do the work; timed."""
        raise NotImplementedError

    def amounts(self, result: Any) -> dict[str, int]:
        """Size of ``result`` in one or more of ``tokens`` (content), ``row_tokens`` (with specials and overlap), ``chunk_chars``."""
        raise NotImplementedError


class Longctx(Peer):
    package, environment, imports = "longctx", "own", ("longctx", "longctx.chunking")
    product = "rows + offsets"
    offsets = True

    def __init__(self, path: Path, n_threads: int) -> None:
        from longctx import Chunker

        self.chunker = Chunker(path, max_tokens=MAX_TOKENS, overlap_tokens=OVERLAP_TOKENS, offsets=self.offsets, threads=n_threads)

    def __call__(self, documents: list[str]) -> Any:
        return self.chunker(documents)

    def amounts(self, result: Any) -> dict[str, int]:
        spans = result.char_spans
        return {
            "tokens": sum(document.tokens for document in result.coverage),
            "row_tokens": int(result.lengths.sum()),
            "chunk_chars": int((spans[:, 1] - spans[:, 0]).sum()),
        }


class LongctxRows(Longctx):
    product, offsets = "rows", False


class Nanotoken(Peer):
    package, imports = "nanotoken", ("nanotoken",)

    def __init__(self, path: Path, n_threads: int) -> None:
        from nanotoken import Tokenizer

        self.tokenizer, self.parallel = Tokenizer(path), n_threads > 1

    def __call__(self, documents: list[str]) -> Any:
        return self.tokenizer.encode_batch(documents, add_special_tokens=False, parallel=self.parallel)

    def amounts(self, result: Any) -> dict[str, int]:
        return {"tokens": len(result.ids)}


class Gigatoken(Peer):
    package = "gigatoken"
    imports = ("gigatoken", "awkward")  # it loads awkward in its first call, for over a second: an import, and not counted as speed

    def __init__(self, path: Path, n_threads: int) -> None:
        from gigatoken import Tokenizer

        self.tokenizer, self.parallel = Tokenizer(path), n_threads > 1

    def __call__(self, documents: list[str]) -> Any:
        return self.tokenizer.encode_batch(documents, parallel=self.parallel)

    def amounts(self, result: Any) -> dict[str, int]:
        import awkward

        return {"tokens": int(awkward.count(result))}


class Tokenizers1(Peer):
    """The release candidate, which gives ids and neither offsets nor overlapping rows."""

    package, environment, imports = "tokenizers", "next", ("tokenizers", "numpy")

    def __init__(self, path: Path, n_threads: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))

    def __call__(self, documents: list[str]) -> Any:
        encodings = self.tokenizer.encode_batch(documents, add_special_tokens=False, padding=None, truncation=None)
        return [encoding.ids_array for encoding in encodings]

    def amounts(self, result: Any) -> dict[str, int]:
        return {"tokens": sum(map(len, result))}


class Tokenizers(Peer):
    package, imports = "tokenizers", ("tokenizers",)

    def __init__(self, path: Path, n_threads: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def __call__(self, documents: list[str]) -> Any:
        return self.tokenizer.encode_batch_fast(documents, add_special_tokens=False)

    def amounts(self, result: Any) -> dict[str, int]:
        return {"tokens": sum(map(len, result))}


class Transformers(Peer):
    """What users write today: rows with overlap, special tokens, padding and offsets, as arrays."""

    package, imports, product = "transformers", ("transformers", "numpy"), "rows + offsets"

    def __init__(self, path: Path, n_threads: int) -> None:
        from transformers import PreTrainedTokenizerFast

        known = [token["content"] for token in json.loads(path.read_bytes())["added_tokens"]]
        pad = next((name for name in ("[PAD]", "<pad>", "<|padding|>") if name in known), known[-1])
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token=pad)

    def __call__(self, documents: list[str]) -> Any:
        return self.tokenizer(
            documents, max_length=MAX_TOKENS, stride=OVERLAP_TOKENS, truncation=True, padding=True, return_overflowing_tokens=True,
            return_offsets_mapping=True, return_tensors="np",
        )  # fmt: skip

    def amounts(self, result: Any) -> dict[str, int]:
        return {"row_tokens": int(result["attention_mask"].sum())}


class Splitter(Peer):
    """Packages that cut text where it reads well, so that no chunk has more than 512 tokens; they give text, not ids."""

    product, is_splitter = "texts", True

    def amounts(self, result: Any) -> dict[str, int]:
        return {"chunk_chars": sum(len(chunk) for document in result for chunk in document)}


class Semchunk(Splitter):
    package, imports = "semchunk", ("semchunk", "tokenizers")

    def __init__(self, path: Path, n_threads: int) -> None:
        from semchunk import chunkerify
        from tokenizers import Tokenizer

        self.chunker = chunkerify(Tokenizer.from_file(str(path)), chunk_size=MAX_TOKENS)

    def __call__(self, documents: list[str]) -> Any:
        return self.chunker(documents, overlap=OVERLAP_TOKENS)


class SemanticTextSplitter(Splitter):
    package, imports = "semantic-text-splitter", ("semantic_text_splitter",)

    def __init__(self, path: Path, n_threads: int) -> None:
        from semantic_text_splitter import TextSplitter

        self.splitter = TextSplitter.from_huggingface_tokenizer_file(str(path), MAX_TOKENS, OVERLAP_TOKENS)

    def __call__(self, documents: list[str]) -> Any:
        return self.splitter.chunk_all(documents)


class Chonkie(Splitter):
    package, imports = "chonkie", ("chonkie", "tokenizers")

    def __init__(self, path: Path, n_threads: int) -> None:
        from chonkie import TokenChunker
        from tokenizers import Tokenizer

        self.chunker = TokenChunker(Tokenizer.from_file(str(path)), chunk_size=MAX_TOKENS, chunk_overlap=OVERLAP_TOKENS)

    def __call__(self, documents: list[str]) -> Any:
        return self.chunker.chunk_batch(documents, show_progress_bar=False)

    def amounts(self, result: Any) -> dict[str, int]:
        return super().amounts([[chunk.text for chunk in chunks] for chunks in result])


class LangChain(Splitter):
    package, imports = "langchain-text-splitters", ("langchain_text_splitters", "tokenizers")

    def __init__(self, path: Path, n_threads: int) -> None:
        from langchain_text_splitters import RecursiveCharacterTextSplitter
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        self.splitter = RecursiveCharacterTextSplitter(
            chunk_size=MAX_TOKENS,
            chunk_overlap=OVERLAP_TOKENS,
            length_function=lambda text: len(tokenizer.encode(text, add_special_tokens=False)),
        )

    def __call__(self, documents: list[str]) -> Any:
        return [self.splitter.split_text(document) for document in documents]


PEERS: dict[str, type[Peer]] = {
    "longctx": Longctx,
    "longctx, no offsets": LongctxRows,
    "nanotoken": Nanotoken,
    "gigatoken": Gigatoken,
    "tokenizers 1.0rc": Tokenizers1,
    "tokenizers": Tokenizers,
    "transformers": Transformers,
    "semchunk": Semchunk,
    "semantic-text-splitter": SemanticTextSplitter,
    "chonkie": Chonkie,
    "langchain": LangChain,
}
