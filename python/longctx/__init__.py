"""longctx reads documents of any length with any Hugging Face encoder and decides about the whole document.

``import longctx`` loads next to nothing: each public name loads its module when it is first used, so a command-line tool that only
shows its help, or a worker that only chunks, never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from longctx._core import __version__
    from longctx.batch import ChunkBatch, Packed
    from longctx.chunking import Chunker
    from longctx.classify import LongDocumentClassifier, chunk_and_classify
    from longctx.coverage import Coverage, CoverageTable
    from longctx.learn.evaluation import evaluate
    from longctx.learn.report import Report
    from longctx.learn.trainer import Trainer
    from longctx.nn.model import LongDocumentModel
    from longctx.results import ChunkEvidence, Prediction, Predictions
    from longctx.run_stats import RunStats

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
    "LongDocumentModel",
    "LongctxError",
    "MissingDependencyError",
    "ModelError",
    "ModelLoadError",
    "Packed",
    "Prediction",
    "Predictions",
    "ReadError",
    "Report",
    "RunStats",
    "TokenizerError",
    "Trainer",
    "__version__",
    "chunk_and_classify",
    "evaluate",
]

_MODULE_OF = {
    "ChunkBatch": "batch",
    "ChunkEvidence": "results",
    "Chunker": "chunking",
    "Coverage": "coverage",
    "CoverageTable": "coverage",
    "LongDocumentClassifier": "classify",
    "LongDocumentModel": "nn.model",
    "Packed": "batch",
    "Prediction": "results",
    "Predictions": "results",
    "Report": "learn.report",
    "RunStats": "run_stats",
    "Trainer": "learn.trainer",
    "__version__": "_core",
    "chunk_and_classify": "classify",
    "evaluate": "learn.evaluation",
}


def __getattr__(name: str) -> object:
    """Load the module of a public name when it is first asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'longctx' has no attribute {name!r}")
    value: object = getattr(import_module(f"longctx.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
