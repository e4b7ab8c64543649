"""What is said where the packages of the extra ``train`` are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from longctx.errors import MissingDependencyError


@contextmanager
def train_extra() -> Iterator[None]:
    """Surround the imports of the extra's packages; raises MissingDependencyError where one is not installed."""
    try:
        yield
    except ImportError as error:
        package = (error.name or "a package").split(".")[0].replace("sklearn", "scikit-learn")
        raise MissingDependencyError(f"learning and evaluating need {package}; install it with: pip install longctx[train]") from error
