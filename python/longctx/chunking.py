"""``Chunker``: documents of any length to rows of a model's length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx import _core
from longctx.batch import ChunkBatch, RowArrays, RowLayout
from longctx.coverage import CoverageTable
from longctx.documents import as_runs, groups, is_utf8
from longctx.errors import ConfigError, TokenizerError
from longctx.tokenizer_files import TokenizerSpec, find

_STREAM_GROUP_CHARS = 8_000_000  # enough for all threads to have work; at some 20 bytes a character, well under a gigabyte


class Chunker:
    """Cuts documents of any length into rows, exactly as Hugging Face ``tokenizers`` would.

    Ids, windows and offsets equal those of ``tokenizers`` 0.23.3 with ``enable_truncation(max_tokens, stride=overlap_tokens)`` under
    ``tail="keep"`` and ``boundary="token"``. Truncation and padding written into a ``tokenizer.json`` are ignored. No token is dropped
    unless ``select`` says so. The result depends on the document and these options alone.

    Args:
        tokenizer: hub id, folder, ``tokenizer.json``, ``tokenizers.Tokenizer`` or fast transformers tokenizer.
        max_tokens: length of a row, special tokens included; None for what the model allows.
        overlap_tokens: content tokens that two neighbouring chunks share.
        boundary: where a chunk may end: ``"token"``, ``"word"``, ``"sentence"`` (both UAX #29) or ``"paragraph"`` (blank line). Where a
            row holds no such boundary, the next finer kind is used.
        tail: a short last chunk: ``"keep"`` it; ``"backfill"`` it from the text before; ``"balance"`` all chunks to equal length;
            ``"merge"`` one of under half a row with its neighbour, into two of equal length.
        select: which chunks become rows: None for all; ``"head"``, ``"tail"``, ``"head_tail"``, ``"random"`` (with ``seed``) or
            ``"tfidf"`` (the chunks whose tokens are rarest in the rest of the document), with ``max_chunks``.
        max_chunks: rows a document may have, with ``select``.
        seed: of ``select="random"``.
        specials: a literal ``"[SEP]"`` in a document is ``"text"``, the control token (``"parse"``), or an ``"error"``.
        prefix: text repeated before every chunk; the chunk is then the second sequence of the tokenizer's pair template.
        suffix: text repeated after every chunk; the chunk is then the first sequence of the pair.
        padding: rows are as wide as the ``"longest"`` of the batch, or ``"max_tokens"``.
        offsets: also give every token's character span.
        dtype: ``"int64"`` or ``"int32"``, of ``input_ids`` and what is made from them.
        threads: None for all cores this process may use.

    Raises:
        ConfigError: an option is not allowed, alone or with the others.
        TokenizerError: the tokenizer cannot be read.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_tokens: int | None = 512,
        overlap_tokens: int = 64,
        boundary: str = "token",
        tail: str = "keep",
        select: str | None = None,
        max_chunks: int | None = None,
        seed: int = 0,
        specials: str = "text",
        prefix: str | None = None,
        suffix: str | None = None,
        padding: str = "longest",
        offsets: bool = False,
        dtype: str = "int64",
        threads: int | None = None,
    ) -> None:
        self._spec = find(tokenizer)
        self.max_tokens: int = _row_length(max_tokens, self._spec)
        self.overlap_tokens: int = _count("overlap_tokens", overlap_tokens, least=0)
        self._options: dict[str, object] = {
            "max_tokens": self.max_tokens,
            "overlap_tokens": self.overlap_tokens,
            "boundary": _text("boundary", boundary),
            "tail": _text("tail", tail),
            "select": select if select is None else _text("select", select),
            "max_chunks": _max_chunks(select, max_chunks),
            "seed": _count("seed", seed, least=0),
            "specials": _text("specials", specials),
            "prefix": prefix if prefix is None else _text("prefix", prefix),
            "suffix": suffix if suffix is None else _text("suffix", suffix),
            "padding": _text("padding", padding),
            "offsets": _switch("offsets", offsets),
            "dtype": _text("dtype", dtype),
            "threads": _threads(threads),
            "pad_id": self._spec.pad_id,
            "padding_side": self._spec.padding_side,
        }
        self._load()

    @classmethod
    def from_pretrained(cls, name: Any, **options: Any) -> Chunker:
        """Read a tokenizer by hub id, folder or file; options as for the class."""
        return cls(name, **options)

    def __call__(self, documents: Any) -> ChunkBatch:
        """Chunk documents: one ``str`` or ``bytes``, a sequence of them, or an Arrow, pandas or polars column of strings.

        Raises:
            DocumentTypeError: something is not text; the message names its index.
            DocumentError: a text is not valid UTF-8, is null, or holds a forbidden special token; the message names its index.
        """
        return self._batch(*self._core.rows(as_runs(documents)), 0, 0)

    def stream(self, documents: Any, *, max_rows: int = 4096) -> Iterator[ChunkBatch]:
        """Chunk any number of documents in bounded memory, in order, in batches of at most ``max_rows`` rows.

        The batches, one after the other, have the rows of a single call. ``document_index`` counts over the whole stream; a document
        with many rows goes on in the next batch, and its coverage stands in each.

        Raises:
            ConfigError: ``max_rows`` is less than 1.
            DocumentTypeError, DocumentError: as for a call, when the document is reached; batches before it are not lost.
        """
        _count("max_rows", max_rows, least=1)
        return self._stream(documents, max_rows)

    def _stream(self, documents: Any, max_rows: int) -> Iterator[ChunkBatch]:
        first_document = 0
        for group in groups(documents, max_documents=max_rows, max_chars=_STREAM_GROUP_CHARS):
            planned = self.plan(group, first_document)
            yield from (planned.batch(start, start + max_rows) for start in range(0, planned.n_rows, max_rows))
            first_document += len(group)

    def plan(self, documents: Any, first_document: int = 0) -> PlannedRows:
        """Tokenize and cut documents; their rows are written later, a part at a time.

        Documents are counted from ``first_document``, also in errors, which are those of a call.
        """
        return PlannedRows(self._core.plan(as_runs(documents, first_document), first_document), first_document, self._batch)

    def explain(self) -> str:
        """Say which engine reads this tokenizer and why, and what its rows look like."""
        spec, layout = self._spec, self._layout
        pad = (
            f"{spec.pad_id}" if spec.has_pad_token else "0, for want of a padding token; only lengths and attention_mask tell it from text"
        )
        return (
            f"tokenizer: {spec.name}\n{self._core.explain()}\n"
            f"row: {len(layout.before_type_ids)} tokens + up to {self.room_tokens} of the document + {len(layout.after_type_ids)} tokens, "
            f"{self.max_tokens} in all\n"
            f"padding: on the {layout.padding_side} with id {pad}"
        )

    @property
    def room_tokens(self) -> int:
        """Content tokens a row can hold."""
        return self._core.room_tokens

    @property
    def pad_id(self) -> int:
        """The id that fills rows up."""
        return self._spec.pad_id

    @property
    def pad_token_type_id(self) -> int:
        """The segment that fills rows up."""
        return self._spec.pad_token_type_id

    @property
    def padding_side(self) -> str:
        """``"left"`` or ``"right"``."""
        return self._spec.padding_side

    @property
    def has_token_type_ids(self) -> bool:
        """Whether the tokenizer's models take segments."""
        return self._layout.has_token_type_ids

    def __repr__(self) -> str:
        return f"Chunker({self._spec.name!r}, max_tokens={self.max_tokens}, overlap_tokens={self.overlap_tokens})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_spec": self._spec, "_options": self._options, "max_tokens": self.max_tokens, "overlap_tokens": self.overlap_tokens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    def _load(self) -> None:
        try:
            self._core = _core.Chunker(self._spec.definition, self._options)
        except TokenizerError as error:
            raise TokenizerError(f"{self._spec.name}: {error}") from error
        self._layout = self._row_layout()
        # What Rust and NumPy make at the first call of a process is made now: a millisecond that no document waits for.
        self._batch(*self._core.rows(as_runs([])), 0, 0)

    def _row_layout(self) -> RowLayout:
        core, spec = self._core, self._spec
        own = spec.has_token_type_ids
        return RowLayout(
            before_type_ids=tuple(core.before_type_ids),
            content_type_id=core.content_type_id,
            after_type_ids=tuple(core.after_type_ids),
            pad_id=spec.pad_id,
            pad_token_type_id=spec.pad_token_type_id,
            padding_side=spec.padding_side,
            has_token_type_ids=core.has_token_type_ids if own is None else own,
        )

    def _batch(self, rows: RowArrays, counts: NDArray[np.int64], first_covered: int, first_document: int) -> ChunkBatch:
        """Rows of documents, the first of them number ``first_document``; ``counts`` are of those from ``first_covered`` on."""
        ids, lengths, document_index, token_spans, char_spans, fresh_tokens, offsets = rows
        document_index += first_document
        covered = np.arange(first_covered, first_covered + len(counts), dtype=np.int64) + first_document
        select = self._options["select"]
        reason = f"select={select!r}, max_chunks={self._options['max_chunks']}" if select is not None else ""
        coverage = CoverageTable(covered, counts, reason)
        return ChunkBatch(ids, lengths, document_index, token_spans, char_spans, fresh_tokens, offsets, coverage, self._layout)


class PlannedRows:
    """Documents, tokenized and cut, whose rows are written on demand. Made by ``Chunker.plan``."""

    def __init__(self, plan: _core.Plan, first_document: int, make_batch: Callable[..., ChunkBatch]) -> None:
        self._plan = plan
        self._first_document = first_document
        self._make_batch = make_batch
        self.n_rows: int = plan.n_rows

    def batch(self, start: int, stop: int) -> ChunkBatch:
        """Rows ``start`` to ``stop``, or to the last one."""
        stop = min(stop, self.n_rows)
        first_covered, counts = self._plan.coverage(start, stop)
        return self._make_batch(self._plan.rows(start, stop), counts, first_covered, self._first_document)


def _row_length(max_tokens: int | None, spec: TokenizerSpec) -> int:
    if max_tokens is not None:
        return _count("max_tokens", max_tokens, least=1)
    if spec.model_max_tokens is None:
        raise ConfigError(f"max_tokens=None, but nothing says how long a row {spec.name} allows; give max_tokens, for example 512.")
    return spec.model_max_tokens


def _max_chunks(select: str | None, max_chunks: int | None) -> int:
    if select is None and max_chunks is not None:
        raise ConfigError(f"max_chunks={max_chunks!r} needs select; use one of 'head', 'tail', 'head_tail', 'random', 'tfidf'.")
    if select is not None and max_chunks is None:
        raise ConfigError(f"select={select!r} needs max_chunks, the number of chunks to keep; for example max_chunks=4.")
    return 0 if max_chunks is None else _count("max_chunks", max_chunks, least=1)


def _threads(threads: int | None) -> int:
    return available_cpus() if threads is None else _count("threads", threads, least=1)


def available_cpus() -> int:
    """Logical processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(option: str, value: object, *, least: int) -> int:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise ConfigError(f"{option}={value!r} is no whole number; use an int of at least {least}.")
    number = value.__index__()
    if not least <= number < 2**63:
        raise ConfigError(f"{option}={number} is out of range; use an int of at least {least}.")
    return int(number)


def _text(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{option}={value!r} is of type {type(value).__name__}; use a str.")
    if not is_utf8(value):
        raise ConfigError(f"{option}={value!r} holds a lone surrogate, which is no character; use text that UTF-8 can hold.")
    return value


def _switch(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{option}={value!r} is of type {type(value).__name__}; use True or False.")
    return value
