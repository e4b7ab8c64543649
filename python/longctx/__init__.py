"""longctx reads documents of any length with any Hugging Face encoder and decides about the whole document.

``import longctx`` loads NumPy and the compiled core only; torch and transformers are loaded by the first call that needs a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from longctx._core import __version__
from longctx.batch import ChunkBatch, Packed
from longctx.chunking import Chunker
from longctx.coverage import Coverage, CoverageTable
from longctx.errors import (
    ConfigError,
    DocumentError,
    DocumentTypeError,
    LongctxError,
    MissingDependencyError,
    ModelError,
    ModelLoadError,
    ReadError,
    TokenizerError,
)
from longctx.results import ChunkEvidence, Prediction, Predictions

if TYPE_CHECKING:
    from longctx.classify import LongDocumentClassifier, chunk_and_classify

__all__ = [
    "ChunkBatch",
    "ChunkEvidence",
    "Chunker",
    "ConfigError",
    "Coverage",
    "CoverageTable",
    "DocumentError",
    "DocumentTypeError",
    "LongDocumentClassifier",
    "LongctxError",
    "MissingDependencyError",
    "ModelError",
    "ModelLoadError",
    "Packed",
    "Prediction",
    "Predictions",
    "ReadError",
    "TokenizerError",
    "__version__",
    "chunk_and_classify",
]

_NEEDS_TORCH = {"LongDocumentClassifier": "longctx.classify", "chunk_and_classify": "longctx.classify"}


def __getattr__(name: str) -> object:
    """Load what needs torch when it is first asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module 'longctx' has no attribute {name!r}")
    value = getattr(import_module(_NEEDS_TORCH[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
