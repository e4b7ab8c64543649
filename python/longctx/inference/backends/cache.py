"""What was exported or measured once is kept on disk, under a fingerprint of all it was made from. Losing it costs time only."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
"""In every published folder: the sizes and hashes of its files. Written last, so a folder without it is not whole."""


def cache_folder() -> Path:
    """Folder for everything kept: ``LONGCTX_CACHE``, else ``longctx`` in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    if own := os.environ.get("LONGCTX_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")  # relative paths are not valid there, by its specification
    base = Path(shared) if shared and Path(shared).is_absolute() else Path("~/.cache").expanduser()
    return base / "longctx"


def fingerprint(*parts: object) -> str:
    """Hash of plain values, the same in every process.

    >>> fingerprint("a", 1) == fingerprint("a", 1) != fingerprint("a1")
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def model_fingerprint(model: nn.Module) -> str:
    """Hash of a model's kind, configuration and weights: of what it computes, not of where it came from."""
    digest = hashlib.sha256(type(model).__name__.encode())
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_json_string"):
        settings = json.loads(config.to_json_string(use_diff=False))
        settings.pop("_name_or_path", None)  # the same weights in another folder are the same model
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()[:32]


def read_json(path: Path) -> Any:
    """Give what is written there; None where there is nothing readable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Write all of it or nothing. A cache that cannot be written is no error: the work is done again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        Path(name).replace(path)
    except OSError as error:
        logger.info("the cache %s cannot be written: %s", path.parent, error)


def publish(folder: Path, fill: Callable[[Path], None]) -> bool:
    """Make a folder appear with all its files, or not at all; True when it is there now.

    Args:
        folder: what it shall be called. Where another process was faster, its folder stays.
        fill: writes the files into a folder with another name, which is then renamed.
    """
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        fill(draft)
        manifest = {path.name: [path.stat().st_size, _file_hash(path)] for path in draft.iterdir()}
        (draft / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        draft.rename(folder)
    except OSError as error:
        logger.info("the cache %s cannot be written: %s", folder, error)
    finally:
        if draft is not None and draft.exists():
            shutil.rmtree(draft, ignore_errors=True)
    return is_whole(folder)


def is_whole(folder: Path) -> bool:
    """Every file is there with the bytes it was published with. A truncated one could crash the process that maps it."""
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not manifest:
        return False
    try:
        return all([(folder / name).stat().st_size, _file_hash(folder / name)] == told for name, told in manifest.items())
    except OSError:
        return False


def discard(folder: Path) -> None:
    """Remove a published folder that is broken."""
    shutil.rmtree(folder, ignore_errors=True)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
