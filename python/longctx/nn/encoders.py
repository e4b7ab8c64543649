"""Encoders for models that are trained: any ``AutoModel``, without what only its own head needs."""

from __future__ import annotations

import copy
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from longctx.errors import ConfigError, ModelError, ModelLoadError, one_line
from longctx.nn.checkpoints import HEAD_SUFFIX, Checkpoint, load_encoder_checkpoint, quiet_transformers
from longctx.nn.embedding import Pooling, minilm_folder

PACKAGED = "minilm"
"""Name of the encoder that the extra ``longctx[minilm]`` brings."""
NOT_OURS = ("auto_map", "quantization_config", "_attn_implementation", "attn_implementation", "dtype", "torch_dtype")
"""Settings in a saved configuration that may not choose code, kernels or precision."""
NOT_KEPT = (*NOT_OURS, "_name_or_path", "id2label", "label2id")
"""And those that say where an encoder lay, or what a head meant that it no longer has."""


LAYER_COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
"""Names that configurations have for the number of layers."""


def load_encoder(
    encoder: Any, tokenizer: Any = None, *, n_layers: int | None = None, dtype: torch.dtype = torch.float32
) -> tuple[Checkpoint, dict[str, Any]]:
    """Load an encoder and the configuration that builds it again.

    Args:
        encoder: "minilm" (packaged), a folder, a hub id, a loaded transformers model, or ``(model, tokenizer)``.
        tokenizer: instead of the encoder's own.
        n_layers: keep only so many of its layers, from below; None for all.
        dtype: precision to load files in.

    Raises:
        ConfigError: it has not so many layers.
        ModelLoadError: it cannot be found or read.
        ModelError: it has no token states to read.
    """
    if isinstance(encoder, (str, Path)):
        encoder = minilm_folder() if str(encoder) == PACKAGED else encoder
    checkpoint = load_encoder_checkpoint(encoder, tokenizer, dtype=dtype)
    whole = checkpoint.model
    if n_layers is not None:
        whole = copy.deepcopy(whole) if checkpoint.was_loaded else whole
        keep_layers(whole, n_layers)
    part = reading_part(whole)
    settings = json.loads(whole.config.to_json_string(use_diff=False))
    return replace(checkpoint, model=part), {key: value for key, value in settings.items() if key not in NOT_KEPT}


def reading_part(model: Any) -> Any:
    """Strip heads, decoders and poolers: what is left gives token states ``(n_rows, width, hidden)`` and nothing that is not trained.

    Raises:
        ModelError: nothing is left.
    """
    if type(model).__name__.endswith(HEAD_SUFFIX):
        model = getattr(model, model.base_model_prefix)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if "input_ids" not in inspect.signature(model.forward).parameters:
        raise ModelError(f"{type(model).__name__} does not read token ids; give a text encoder.")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return _prepared(model)


def keep_layers(model: Any, n_layers: int) -> None:
    """Take off all layers above the first ``n_layers``. The final norm of models that have one stays.

    Raises:
        ConfigError: the model has not so many layers.
        ModelError: it does not say which its layers are.
    """
    config = model.config
    name = next((name for name in LAYER_COUNTS if isinstance(getattr(config, name, None), int)), None)
    most = getattr(config, name) if name else 0
    stacks = [(owner, own, part) for owner in model.modules() for own, part in owner.named_children() if _is_stack(part, most)]
    if name is None or not stacks or getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{type(model).__name__} does not say which its layers are; leave encoder_layers= out.")
    if not 1 <= n_layers <= most:
        raise ConfigError(f"encoder_layers={n_layers}: {type(model).__name__} has {most} layers; use 1 to {most}, or None for all.")
    for owner, own, part in stacks:
        setattr(owner, own, part[:n_layers])
    setattr(config, name, n_layers)
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = config.layer_types[:n_layers]


def _is_stack(part: nn.Module, n_layers: int) -> bool:
    return isinstance(part, nn.ModuleList) and len(part) == n_layers


def build_encoder(settings: dict[str, Any], name: str) -> Any:
    """Build an encoder from its configuration, with weights that are still to be loaded. Code from a checkpoint is never run.

    Raises:
        ModelLoadError: this transformers does not know it.
    """
    allowed = {key: value for key, value in settings.items() if key not in NOT_OURS}
    try:
        with quiet_transformers():
            config = AutoConfig.for_model(**allowed)
            model = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]  # transformers has no types here
            return reading_part(model)
    except Exception as error:  # transformers raises whatever a damaged config makes it stumble over
        raise ModelLoadError(f"{name}: its encoder cannot be built from config.json: {one_line(error)}") from error


def default_pooling(checkpoint: Checkpoint) -> Pooling:
    """Take the last token where each sees only those before it, else what the checkpoint says of itself."""
    return "last" if is_causal(checkpoint.model) else checkpoint.pooling


def is_causal(model: Any) -> bool:
    """Find out whether a token's state knows nothing of the tokens behind it, by changing the last of three."""
    n_ids = model.get_input_embeddings().num_embeddings
    device = next(model.parameters()).device
    rows = torch.tensor([[n_ids - 1, n_ids - 2, n_ids - 1], [n_ids - 1, n_ids - 2, n_ids - 2]], device=device)
    was_training = model.training
    with torch.inference_mode():
        # In two calls of one row each: the same row may have other bits at another place of a batch.
        one, other = (model.eval()(input_ids=row[None]).last_hidden_state for row in rows)
    model.train(was_training)
    return bool(torch.equal(one[0, :2], other[0, :2]))


def hidden_size(model: Any) -> int:
    """Width of the token states."""
    config = model.config
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        if isinstance(getattr(config, name, None), int):
            return int(getattr(config, name))
    raise ModelError(f"{type(model).__name__} does not say how wide its states are; its config has no hidden_size.")


def _prepared(model: Any) -> Any:
    config = model.config
    if config.model_type == "big_bird":
        # Its sparse attention turns itself off at the first short row and stays off, so a result would depend on what was read before.
        model.set_attention_type("original_full")
    if config.model_type == "longformer":
        model.register_forward_pre_hook(_attend_globally, with_kwargs=True)
    if getattr(config, "pad_token_id", None) is None and is_causal(model):
        config.pad_token_id = 0  # any id will do: what stands behind a row is seen by none of its tokens, and masked
    return model


def _attend_globally(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let the first token see all others and be seen by them, as Longformer's own classifier does (Beltagy et al. 2020)."""
    del model
    ids: Tensor = kwargs["input_ids"]
    if kwargs.get("global_attention_mask") is None:
        marks = torch.zeros_like(ids)
        marks[:, 0] = 1
        kwargs = {**kwargs, "global_attention_mask": marks}
    return args, kwargs
