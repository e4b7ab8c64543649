"""Loading a model: from a folder, a hub id, or an object already loaded. Safetensors only, never custom code."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from longctx.errors import ModelError, ModelLoadError, one_line
from longctx.nn.embedding import Pooling, read_pooling

if TYPE_CHECKING:
    from longctx.nn.model import LongDocumentModel

HEAD_SUFFIX = "ForSequenceClassification"
UNLIMITED_TOKENS = 1_000_000
"""Tokenizers without a limit state an astronomic one; anything above this is read as none."""
FALLBACK_MAX_TOKENS = 512
"""Row length for models with relative positions, which state no limit of their own."""

Kind = Literal["classifier", "nli", "encoder", "long_document"]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its tokenizer.

    Attributes:
        model: a transformers model, or a torch module with the same forward and a ``config``.
        tokenizer: anything ``Chunker`` takes.
        name: where it came from, for messages.
        kind: "classifier" (a trained head), "nli" (a head with an entailment label), "encoder" (no head), "long_document" (a
            ``LongDocumentModel``: then ``model`` is its encoder).
        max_tokens: longest row the model can read, special tokens included.
        pooling: how an encoder's token states become one.
        was_loaded: True when the caller gave a loaded object, whose device and precision are then kept.
        decider: the ``LongDocumentModel``, for that kind.
    """

    model: Any
    tokenizer: Any
    name: str
    kind: Kind
    max_tokens: int
    pooling: Pooling = "mean"
    was_loaded: bool = False
    decider: LongDocumentModel | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The head's labels in the order of its outputs.

        Raises:
            ModelError: its config lacks a name or has one twice, so that a decision could not be told from another.
        """
        if self.decider is not None:
            return self.decider.config.labels
        config = self.model.config
        names = [str(config.id2label.get(i)) for i in range(config.num_labels)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ModelError(f"{self.name}: id2label in its config gives {repeated[0]!r} to several outputs; give each a name of its own.")
        return tuple(names)


def load_checkpoint(model: Any, tokenizer: Any = None, *, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Load ``model`` and say what it is.

    Args:
        model: folder, hub id, loaded transformers model, ``(model, tokenizer)``, or a text-classification pipeline.
        tokenizer: used instead of the model's own; anything ``Chunker`` takes.
        dtype: precision to load files in; a loaded object stays as it is.

    Raises:
        ModelLoadError: missing folder, no tokenizer, pickle-only weights, custom code, or weights without the head.
        ModelError: something that is no model was given.
    """
    return _load(model, tokenizer, dtype, kind=None)


def load_encoder_checkpoint(model: Any, tokenizer: Any = None, *, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Load ``model`` for its token states; arguments and errors as for ``load_checkpoint``. A head it may have is not read."""
    return _load(model, tokenizer, dtype, kind="encoder")


def _load(model: Any, tokenizer: Any, dtype: torch.dtype, *, kind: Kind | None) -> Checkpoint:
    if isinstance(model, (str, Path)):
        return _from_files(str(model), tokenizer, dtype, kind)
    if isinstance(model, tuple) and len(model) == 2:  # noqa: PLR2004 - a pair
        return _from_object(model[0], tokenizer or model[1], kind)
    if hasattr(model, "task") and hasattr(model, "model") and hasattr(model, "tokenizer"):
        return _from_object(model.model, tokenizer or model.tokenizer, kind)
    return _from_object(model, tokenizer, kind)


def _from_object(model: Any, tokenizer: Any, kind: Kind | None) -> Checkpoint:
    from longctx.nn.model import LongDocumentModel

    if isinstance(model, LongDocumentModel):
        return model.checkpoint(tokenizer, was_loaded=True)
    if not (isinstance(model, nn.Module) and hasattr(model, "config")):
        raise ModelError(
            f"model={type(model).__name__} object: give a folder, a hub id, a loaded transformers model, "
            "a (model, tokenizer) tuple or a text-classification pipeline."
        )
    name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    if tokenizer is None:
        tokenizer = _tokenizer_of_object(model, name)
    max_tokens = model_max_tokens(model, tokenizer)
    kind = kind or _kind(model)
    is_named = bool(getattr(model, "name_or_path", ""))
    pooling = read_pooling(name) if kind == "encoder" and is_named else "mean"
    return Checkpoint(model, tokenizer, name, kind, max_tokens, pooling, was_loaded=True)


def _tokenizer_of_object(model: Any, name: str) -> Any:
    if not getattr(model, "name_or_path", ""):
        raise ModelLoadError(
            f"The {type(model).__name__} object does not say which folder it came from, so its tokenizer is not "
            "known; give tokenizer=, or model=(model, tokenizer)."
        )
    return _load_tokenizer(name)


def _from_files(name: str, tokenizer: Any, dtype: torch.dtype, kind: Kind | None) -> Checkpoint:
    from longctx.nn.model_files import find_saved, load_saved

    folder = Path(name).expanduser()
    if _is_folder(name, folder):
        name = str(folder)
    elif folder.exists() or folder.is_absolute() or name.startswith((".", "~")):
        raise ModelLoadError(f"model={name!r}: no such folder; give a folder with config.json, or a hub id.")
    if saved := find_saved(name):
        return load_saved(saved, name, dtype=dtype).checkpoint(tokenizer)
    with quiet_transformers():
        config = _load_config(name)
        auto, has_head = _auto_class(config) if kind is None else (AutoModel, False)
        model = _load_weights(name, config, dtype, auto=auto, has_head=has_head)
        if tokenizer is None:
            tokenizer = _load_tokenizer(name)
    max_tokens = model_max_tokens(model, tokenizer)
    kind = kind or _kind(model)
    return Checkpoint(model, tokenizer, name, kind, max_tokens, read_pooling(name) if kind == "encoder" else "mean")


def _is_folder(name: str, folder: Path) -> bool:
    if not name.strip():
        raise ModelLoadError(f"model={name!r} names nothing; give a folder with config.json, or a hub id.")
    try:
        return folder.is_dir()
    except OSError as error:  # a name that is too long, a folder on the way that may not be entered
        raise ModelLoadError(f"model={name[:200]!r} cannot be read ({error.strerror}); give the path of a readable folder.") from error


def _load_config(name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever a damaged config makes it stumble over
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise _custom_code(name) from error
        raise ModelLoadError(
            f"model={name!r}: there is no such folder here, or it has no readable config.json, and no such model could "
            f"be had from the hub: {one_line(error)}"
        ) from error


def _load_weights(name: str, config: Any, dtype: torch.dtype, *, auto: Any, has_head: bool) -> Any:
    try:
        # Precision and attention are set here: a checkpoint's config must not be able to choose either.
        model, info = auto.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=_attention(auto, config),
            output_loading_info=True,
        )
    except Exception as error:  # as above; safetensors has a class of its own
        raise _weights_error(name, error) from error
    missing = [key for key in info["missing_keys"] if has_head or "pooler" not in key]
    if missing:
        raise ModelLoadError(
            f"model={name!r}: the weights lack {len(missing)} tensors of {type(model).__name__}, first {sorted(missing)[0]!r}, so "
            "it was not trained for this; give a complete checkpoint."
        )
    return model


def _auto_class(config: Any) -> tuple[Any, bool]:
    architectures = getattr(config, "architectures", None) or []
    has_head = any(str(name).endswith(HEAD_SUFFIX) for name in architectures)
    return (AutoModelForSequenceClassification if has_head else AutoModel), has_head


def _attention(auto: Any, config: Any) -> str:
    model_class = auto._model_mapping.get(type(config), None)  # transformers has no public way to ask
    if isinstance(model_class, (tuple, list)):
        model_class = model_class[0]
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def _weights_error(name: str, error: Exception) -> ModelLoadError:
    folder = Path(name)
    if "trust_remote_code" in str(error):
        return _custom_code(name)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
            return ModelLoadError(
                f"model={name!r}: only pickle weights (.bin) were found, and loading those can run code; only safetensors "
                "are read. Convert them once where you trust them: load with transformers and save_pretrained()."
            )
        return ModelLoadError(f"model={name!r}: no model.safetensors in the folder; give a folder made by save_pretrained().")
    return ModelLoadError(f"model={name!r} cannot be loaded from safetensors: {one_line(error)}")


def _custom_code(name: str) -> ModelLoadError:
    return ModelLoadError(
        f"model={name!r} needs Python code from the checkpoint, which is never run; use an architecture that "
        "transformers has, or load the model yourself and give model=(model, tokenizer)."
    )


def _load_tokenizer(name: str) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, use_fast=True)
    except Exception as error:  # as above
        raise _no_tokenizer(name, one_line(error)) from error
    # Where there are no tokenizer files at all, transformers makes a tokenizer that knows its special tokens only.
    is_bare = len(tokenizer) <= len(set(tokenizer.all_special_ids))
    if getattr(tokenizer, "backend_tokenizer", None) is None or is_bare:
        raise _no_tokenizer(name, "it has no tokenizer.json")
    return tokenizer


def _no_tokenizer(name: str, why: str) -> ModelLoadError:
    return ModelLoadError(f"No tokenizer for {name!r} ({why}); save one beside the model, or give tokenizer=.")


def _kind(model: Any) -> Kind:
    if not type(model).__name__.endswith(HEAD_SUFFIX):
        if getattr(model.config, "is_encoder_decoder", False):
            raise ModelError(
                f"{type(model).__name__} is an encoder-decoder without a classification head; give an encoder, or a "
                "checkpoint with a sequence-classification head."
            )
        return "encoder"
    return "classifier" if entailment_index(model.config) is None else "nli"


def entailment_index(config: Any) -> int | None:
    """Output that means "the premise entails the hypothesis", or None when this is no NLI head."""
    for index, name in config.id2label.items():
        if str(name).lower().startswith("entail"):
            return int(index)
    return None


def model_max_tokens(model: Any, tokenizer: Any) -> int:
    """Longest row the model can read: the smaller of its positions and its tokenizer's own limit."""
    limits = [_position_limit(model), getattr(tokenizer, "model_max_length", None)]
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < UNLIMITED_TOKENS]
    return min(known, default=FALLBACK_MAX_TOKENS)


def _position_limit(model: Any) -> int | None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None:
        return None
    # RoBERTa-like models count positions from pad_token_id + 1, so that many of the table's rows are never used.
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(limit) - int(module.padding_idx) - 1
    return int(limit)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No loading bars and reports from transformers inside; its settings are put back afterwards."""
    verbosity, has_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
