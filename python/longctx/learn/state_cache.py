"""States of a frozen encoder: computed once by the inference engine, kept on disk, mapped into memory.

A folder's name is a fingerprint of all that the states depend on, so a changed text, tokenizer, window or weight makes a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from longctx.documents import groups
from longctx.inference.backends.base import Readout
from longctx.inference.backends.cache import cache_folder, fingerprint, is_whole, model_fingerprint, publish
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.device import pick_token_budget
from longctx.inference.loop import RowRunner
from longctx.inference.packing import pack_backend
from longctx.learn.encoded import EncodedDocuments, encode_documents
from longctx.tokenizer_files import find

if TYPE_CHECKING:
    from longctx.chunking import Chunker
    from longctx.nn.model import LongDocumentModel

STATES = "states.npy"
VERSION = 1
"""Of how states are made; a new number makes all caches new."""
ROWS_TOGETHER = 512


def frozen_documents(
    model: LongDocumentModel, texts: Sequence[str], truth: NDArray[Any], *, folder: Path | None = None, first_row: bool = False
) -> EncodedDocuments:
    """Documents as their chunks' states, from the cache where they are there.

    Args:
        model: its encoder makes the states, in eval mode, where it is.
        texts: the documents.
        truth: their labels, as ``EncodedDocuments`` has them.
        folder: where states are kept; None for ``states`` in the cache folder of longctx.
        first_row: read only the beginning of each document, in one row of the longest length the encoder allows.
    """
    chunker = _first_row_chunker(model) if first_row else model.chunker()
    rows = encode_documents(texts, truth, chunker, takes_types=False)
    folder = (cache_folder() / "states" if folder is None else folder) / _fingerprint(model, texts, chunker)
    if is_whole(folder) or publish(folder, lambda draft: _write(model, texts, chunker, rows, draft)):
        states = np.load(folder / STATES, mmap_mode="r")
    else:  # a cache that cannot be written is no error
        states = np.concatenate(list(_states(model, texts, chunker)))
    return replace(rows, ids=None, states=states, per_token=model.config.states == "tokens")


def _first_row_chunker(model: LongDocumentModel) -> Chunker:
    longest = model.checkpoint().max_tokens
    return model.chunker(max_tokens=longest, overlap_tokens=0, select="head", max_chunks=1)


def _fingerprint(model: LongDocumentModel, texts: Sequence[str], chunker: Chunker) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    config, spec = model.config, find(model.tokenizer)
    window = {**chunker.__getstate__()["_options"], "threads": None}
    return fingerprint(
        VERSION,
        digest.hexdigest(),
        model_fingerprint(model.encoder),
        spec.definition,
        window,
        config.pooling,
        config.states,
        str(model.device.type),
    )


def _write(model: LongDocumentModel, texts: Sequence[str], chunker: Chunker, rows: EncodedDocuments, draft: Path) -> None:
    per_token = model.config.states == "tokens"
    n_states = int(rows.lengths.sum()) if per_token else len(rows.lengths)
    hidden = int(model.head.weight.shape[1])
    states = np.lib.format.open_memmap(draft / STATES, mode="w+", dtype=np.float32, shape=(n_states, hidden))  # type: ignore[no-untyped-call]
    at = 0
    for part in _states(model, texts, chunker):
        states[at : at + len(part)] = part
        at += len(part)
    states.flush()


def _states(model: LongDocumentModel, texts: Sequence[str], chunker: Chunker) -> Iterator[NDArray[np.float32]]:
    """States of all rows in order, a part at a time."""
    was_training = model.encoder.training
    model.encoder.eval()
    try:
        if model.config.states == "tokens":
            yield from _token_states(model, texts, chunker)
        else:
            runner = _runner(model, chunker)
            for batch in chunker.stream(texts, max_rows=ROWS_TOGETHER):
                yield runner.run(batch)
    finally:
        model.encoder.train(was_training)


def _token_states(model: LongDocumentModel, texts: Sequence[str], chunker: Chunker) -> Iterator[NDArray[np.float32]]:
    takes_types = TorchBackend(model.encoder, Readout("embedding"), device=model.device).facts.takes_types
    for group in groups(texts, max_documents=ROWS_TOGETHER, max_chars=1_000_000):
        documents = encode_documents(group, np.zeros(len(group)), chunker, takes_types=takes_types)
        batch = documents.batch(range(len(documents)))["documents"].to(model.device)
        with torch.inference_mode():
            yield model.encode(batch).float().cpu().numpy()


def _runner(model: LongDocumentModel, chunker: Chunker) -> RowRunner:
    backend = TorchBackend(model.encoder, Readout("embedding", model.config.pooling), device=model.device)
    packed = pack_backend(backend, chunker.max_tokens)
    budget = pick_token_budget("auto", model.device)
    scale = model.scale
    return RowRunner(backend, lambda embeddings: embeddings * scale, token_budget=budget, packed=packed)
