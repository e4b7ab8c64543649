"""States of a frozen encoder: computed once by the inference engine, kept on disk, mapped into memory.

A folder is named by a fingerprint of encoder, tokenizer and window, and holds shards; a document in it is known by the hash of its text.
So a changed weight, tokenizer or window makes a new cache, and of changed or added documents only those are read again.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from longctx.documents import groups
from longctx.inference.backends.base import Readout, read_facts
from longctx.inference.backends.cache import cache_folder, discard, fingerprint, is_whole, model_fingerprint, publish
from longctx.inference.backends.select import BackendOpener, Request
from longctx.inference.device import pick_token_budget, weights_dtype
from longctx.inference.loop import RowRunner
from longctx.inference.packing import pack_backend
from longctx.learn.encoded import EncodedDocuments, encode_documents
from longctx.tokenizer_files import find

if TYPE_CHECKING:
    from longctx.chunking import Chunker
    from longctx.nn.model import LongDocumentModel

logger = logging.getLogger(__name__)

STATES, KEYS, ENDS = "states.npy", "keys.npy", "ends.npy"
"""Files of a shard: states float32 ``(n_states, hidden)``; SHA-256 of texts uint8 ``(n_documents, 32)``; int64 ``(n_documents,)``."""
VERSION = 1
"""Of how states are made; a new number makes all caches new."""
ROWS_TOGETHER = 512
SHARD_CHARS = 2_000_000
"""Of the documents of a shard: a minute or two of a CPU."""


def frozen_documents(
    model: LongDocumentModel,
    texts: Sequence[str],
    truth: NDArray[Any],
    *,
    folder: Path | None = None,
    first_row: bool = False,
    dtype: str = "float32",
) -> EncodedDocuments:
    """Documents as their chunks' states, from the cache where they are there.

    Args:
        model: its encoder makes the states, in eval mode, where it is.
        texts: the documents.
        truth: their labels, as ``EncodedDocuments`` has them.
        folder: where states are kept; None for ``states`` in the cache folder of longctx.
        first_row: read only the beginning of each document, in one row of the longest length the encoder allows.
        dtype: what the encoder computes in, as for ``chunk_and_classify``. "auto" is bfloat16 on CUDA, and may be several times as fast on
            a CPU that has it. States of tokens are computed in the precision of the weights.
    """
    chunker = _first_row_chunker(model) if first_row else model.chunker()
    rows = encode_documents(texts, truth, chunker, takes_types=False)
    folder = (cache_folder() / "states" if folder is None else folder) / _fingerprint(model, chunker, dtype)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    known = _known(folder)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        maker, n_done = _StateMaker(model, chunker, dtype), 0
        logger.info("reading %s documents with the frozen encoder, once", f"{len(missing):,}")
        for part in _parts(missing):
            known |= _read(maker, part, folder)
            n_done += len(part)
            logger.info("read %s of %s documents", f"{n_done:,}", f"{len(missing):,}")
    return replace(rows, ids=None, states=[known[key] for key in keys], per_token=model.config.states == "tokens")


def _first_row_chunker(model: LongDocumentModel) -> Chunker:
    longest = model.checkpoint().max_tokens
    return model.chunker(max_tokens=longest, overlap_tokens=0, select="head", max_chunks=1)


def _fingerprint(model: LongDocumentModel, chunker: Chunker, dtype: str) -> str:
    config, spec = model.config, find(model.tokenizer)
    window = {**chunker.__getstate__()["_options"], "threads": None}
    encoder = model_fingerprint(model.encoder)
    computed = dtype if model.device.type == "cpu" else str(weights_dtype(dtype, model.device))
    return fingerprint(VERSION, encoder, spec.definition.decode(), window, config.pooling, config.states, model.device.type, computed)


def _known(folder: Path) -> dict[bytes, NDArray[np.float32]]:
    """States of the documents on disk, by the hashes of their texts. Shards that are not whole are passed over."""
    known: dict[bytes, NDArray[np.float32]] = {}
    for shard in sorted(folder.glob("*")) if folder.is_dir() else ():
        if is_whole(shard):
            keys, ends = np.load(shard / KEYS), np.load(shard / ENDS)
            known |= _by_key([key.tobytes() for key in keys], ends, np.load(shard / STATES, mmap_mode="r"))
    return known


def _by_key(keys: Sequence[bytes], ends: NDArray[np.int64], states: NDArray[np.float32]) -> dict[bytes, NDArray[np.float32]]:
    return dict(zip(keys, np.split(states, ends[:-1]), strict=True))


def _parts(documents: dict[bytes, str]) -> Iterator[dict[bytes, str]]:
    """Documents of a shard each: what is read is kept, also where a run ends in the middle."""
    part: dict[bytes, str] = {}
    n_chars = 0
    for key, text in documents.items():
        part[key] = text
        n_chars += len(text)
        if n_chars >= SHARD_CHARS:
            yield part
            part, n_chars = {}, 0
    if part:
        yield part


def _read(maker: _StateMaker, missing: dict[bytes, str], folder: Path) -> dict[bytes, NDArray[np.float32]]:
    """Make states of these documents, in a shard of their own where it can be written, else in memory."""
    keys, texts = list(missing), list(missing.values())
    ends = maker.ends(texts)
    shard = folder / hashlib.sha256(b"".join(keys)).hexdigest()[:32]

    def fill(draft: Path) -> None:
        np.save(draft / KEYS, np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1))
        np.save(draft / ENDS, ends)
        shape = (int(ends[-1]), maker.hidden)
        states = np.lib.format.open_memmap(draft / STATES, mode="w+", dtype=np.float32, shape=shape)
        at = 0
        for part in maker.states(texts):
            states[at : at + len(part)] = part
            at += len(part)
        states.flush()

    if shard.is_dir() and not is_whole(shard):
        discard(shard)
    if publish(shard, fill):
        return _by_key(keys, ends, np.load(shard / STATES, mmap_mode="r"))
    return _by_key(keys, ends, np.concatenate(list(maker.states(texts))))


class _StateMaker:
    """Makes states of documents with the encoder of a model, which stays as it is.

    Args:
        model: has the encoder, the window and the pooling.
        chunker: makes the rows.
        dtype: what is computed in.
    """

    def __init__(self, model: LongDocumentModel, chunker: Chunker, dtype: str) -> None:
        self._model = model
        self._chunker = chunker
        self._dtype = dtype
        self._per_token = model.config.states == "tokens"
        self.hidden = model.hidden

    def ends(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Where the states of each document end."""
        rows = encode_documents(texts, np.zeros(len(texts)), self._chunker, takes_types=False)
        sizes = rows.lengths if self._per_token else np.ones_like(rows.lengths)
        return np.asarray(np.cumsum(sizes)[rows.row_starts[1:] - 1])

    def states(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        """States of all documents in order, a part at a time."""
        was_training = self._model.encoder.training
        self._model.encoder.eval()
        try:
            yield from self._of_tokens(texts) if self._per_token else self._of_chunks(texts)
        finally:
            self._model.encoder.train(was_training)

    def _of_chunks(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        runner = self._runner()
        for batch in self._chunker.stream(texts, max_rows=ROWS_TOGETHER):
            yield runner.run(batch)

    def _of_tokens(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        model = self._model
        takes_types = read_facts(model.encoder).takes_types
        for group in groups(texts, max_documents=ROWS_TOGETHER, max_chars=1_000_000):
            documents = encode_documents(group, np.zeros(len(group)), self._chunker, takes_types=takes_types)
            batch = documents.batch(range(len(documents)))["documents"].to(model.device)
            with torch.inference_mode():
                yield model.encode(batch).float().cpu().numpy()

    def _runner(self) -> RowRunner:
        model, longest = self._model, self._chunker.max_tokens
        checkpoint = model.checkpoint()
        weights = weights_dtype(self._dtype, model.device)
        if self._dtype != "float32" or checkpoint.model.dtype != weights:  # where a backend is opened, they may be taken to yet another
            checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model).to(weights))
        request = Request("torch" if self._dtype == "float32" else "auto", self._dtype)
        backend = BackendOpener(checkpoint, request, device=model.device, max_tokens=longest)(Readout("embedding", model.config.pooling))
        budget = pick_token_budget("auto", model.device)
        scale = model.scale
        return RowRunner(backend, lambda embeddings: embeddings * scale, token_budget=budget, packed=pack_backend(backend, longest))
