"""A ``LongDocumentModel`` as files: configuration, safetensors, tokenizer and a model card. Nothing in them can run code."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_file, save_model

from longctx.errors import ModelLoadError, TokenizerError, one_line
from longctx.nn.adapters import lora_layers, merge_lora
from longctx.nn.config import MODEL_TYPE, LongDocumentConfig
from longctx.nn.embedding import hub_file
from longctx.nn.encoders import build_encoder
from longctx.nn.model import LongDocumentModel
from longctx.tokenizer_files import TokenizerSpec, find

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save(model: LongDocumentModel, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """See ``LongDocumentModel.save_pretrained``. Adapters are merged.

    Args:
        model: stays as it is.
        folder: made where it is not there.
        weights: where training shards them, those that were gathered.
    """
    if lora_layers(model):
        model, weights = copy.deepcopy(model), None
        merge_lora(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.to_json_string(), encoding="utf-8")
    if weights is None:
        save_model(model, str(folder / WEIGHTS), metadata={"format": "pt"})  # tells tensors that share memory, as T5's do
    else:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    _save_tokenizer(model.tokenizer, folder)
    (folder / CARD).write_text(model_card(model), encoding="utf-8")


def push(model: LongDocumentModel, repo_id: str, *, private: bool | None, token: str | None, commit_message: str | None) -> str:
    """See ``LongDocumentModel.push_to_hub``."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        commit = api.upload_folder(repo_id=repo.repo_id, folder_path=folder, commit_message=commit_message or "Upload a LongDocumentModel")
    return str(commit.commit_url)


def find_saved(name: str) -> LongDocumentConfig | None:
    """Read the configuration of a saved ``LongDocumentModel``; None where ``name`` is something else, or nothing.

    Args:
        name: folder or hub id.

    Raises:
        ModelLoadError: it is one, and its configuration is damaged.
    """
    path = _file(name, CONFIG)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # what reads the other kinds says what is wrong with it
    if not isinstance(content, dict) or content.get("model_type") != MODEL_TYPE:
        return None
    return LongDocumentConfig.from_dict(content, name)


def need_saved(name: str) -> LongDocumentConfig:
    """As ``find_saved``; nothing is an error."""
    config = find_saved(name)
    if config is None:
        raise ModelLoadError(f"{name!r} is no folder or hub id of a saved LongDocumentModel; give what save_pretrained() wrote.")
    return config


def load_saved(config: LongDocumentConfig, name: str, *, dtype: torch.dtype) -> LongDocumentModel:
    """Build the model and read its weights. The encoder is in ``dtype``, the rest in float32.

    Raises:
        ModelLoadError: weights or tokenizer are missing, or do not fit the configuration.
    """
    weights = _file(name, WEIGHTS)
    if weights is None:
        raise ModelLoadError(f"{name}: there is no {WEIGHTS}; give a whole folder made by save_pretrained().")
    with torch.random.fork_rng():  # the first weights are random, and overwritten
        model = LongDocumentModel(config, build_encoder(config.encoder, name), find(name), name=name)
    try:
        load_model(model, weights, strict=True)
    except Exception as error:  # safetensors has classes of its own, torch gives RuntimeError
        raise ModelLoadError(f"{name}: its weights cannot be read or do not fit its config.json: {one_line(error)}") from error
    model.encoder.to(dtype)
    return model.eval()


def model_card(model: LongDocumentModel) -> str:
    """Write what the hub shows: how to use the model, what it is, and the measured report."""
    config = model.config
    lines = [
        "---",
        "library_name: longctx",
        "pipeline_tag: text-classification",
        "tags: [longctx, long-documents]",
        "---",
        "",
        "# A model for documents of any length",
        "",
        "```python",
        "import longctx",
        "",
        'predictions = longctx.chunk_and_classify(documents, model="path-or-hub-id-of-this-model")',
        "predictions[0].label, predictions[0].coverage, predictions[0].decisive.text",
        "```",
        "",
        "| setting | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _settings(model).items()),
        "",
        "Labels: " + ", ".join(f"`{label}`" for label in config.labels[:50]) + (" ..." if config.n_labels > 50 else "") + ".",  # noqa: PLR2004
        "",
        model.report.to_markdown() if model.report is not None else "Not evaluated yet: `longctx.Trainer.evaluate` adds a report here.",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _settings(model: LongDocumentModel) -> dict[str, object]:
    config = model.config
    return {
        "encoder": config.encoder.get("model_type"),
        "problem": config.problem,
        "labels": config.n_labels,
        "aggregator": config.aggregator,
        "states": f"one for each of the {config.states}, pooled by the {config.pooling}" if config.states == "chunks" else "of all tokens",
        "row length": f"{config.max_tokens} tokens, overlap {config.overlap_tokens}",
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
    }


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(str(folder))
        return
    spec = find(tokenizer)
    config = json.dumps(_tokenizer_config(spec), indent=2, ensure_ascii=False)
    (folder / "tokenizer.json").write_bytes(spec.definition)
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")


def _tokenizer_config(spec: TokenizerSpec) -> dict[str, Any]:
    """Write what ``find`` reads beside a definition, in the words of transformers."""
    from tokenizers import Tokenizer

    inputs = ["input_ids", *(["token_type_ids"] if spec.has_token_type_ids else []), "attention_mask"]
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": spec.padding_side}
    if spec.has_token_type_ids is not None:
        config["model_input_names"] = inputs
    if spec.model_max_tokens is not None:
        config["model_max_length"] = spec.model_max_tokens
    if spec.has_pad_token:
        try:
            tokenizer = Tokenizer.from_buffer(spec.definition)
        except Exception as error:  # all that it raises
            raise TokenizerError(f"{spec.name}: the tokenizer definition cannot be read ({one_line(error)}).") from error
        config["pad_token"] = tokenizer.id_to_token(spec.pad_id)
        config["pad_token_type_id"] = spec.pad_token_type_id
    return config


def _file(name: str, file: str) -> Path | None:
    """Find a file of a folder or hub id; None where there is none."""
    folder = Path(name).expanduser()
    try:
        if folder.is_dir():
            return folder / file if (folder / file).is_file() else None
        if folder.exists() or folder.is_absolute() or name.startswith((".", "~")) or not name.strip():
            return None
    except OSError:  # a name that is too long: no folder
        return None
    return hub_file(name, file)
