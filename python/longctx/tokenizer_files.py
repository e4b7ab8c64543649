"""Finds a tokenizer wherever users have one, and reads what its definition does not say: padding and the model's longest row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from longctx.errors import TokenizerError

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")
_NO_LIMIT = 10**9  # transformers writes 1e30 for "no limit"
_POSITIONS_AFTER_PAD = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet", "roberta-prelayernorm", "xmod"}


@dataclass(frozen=True)
class TokenizerSpec:
    """A tokenizer as the core takes it.

    Attributes:
        definition: the text of ``tokenizer.json``.
        name: what the user gave, for messages.
        pad_id: fills rows up; 0 where the tokenizer has no padding token, and then only lengths tell padding from text.
        pad_token_type_id: fills segments up.
        padding_side: ``"left"`` or ``"right"``.
        has_token_type_ids: whether its models take segments; None where only the template can tell.
        model_max_tokens: the longest row its model reads; None where nothing says.
        has_pad_token: whether ``pad_id`` is the tokenizer's own.
    """

    definition: str
    name: str
    pad_id: int = 0
    pad_token_type_id: int = 0
    padding_side: str = "right"
    has_token_type_ids: bool | None = None
    model_max_tokens: int | None = None
    has_pad_token: bool = True


def find(tokenizer: Any) -> TokenizerSpec:
    """Read a tokenizer from a hub id, folder, ``tokenizer.json``, ``tokenizers.Tokenizer`` or transformers tokenizer.

    Raises:
        TokenizerError: there is none, or it has no ``tokenizer.json`` form.
    """
    if isinstance(tokenizer, TokenizerSpec):
        return tokenizer
    if isinstance(tokenizer, str | PathLike):
        return _from_name(fspath(tokenizer))
    if hasattr(tokenizer, "backend_tokenizer"):
        return _from_transformers(tokenizer)
    if hasattr(tokenizer, "to_str") and hasattr(tokenizer, "encode_batch"):
        return _from_definition(tokenizer.to_str(), name="the given tokenizers.Tokenizer", config={}, model_config={})
    raise TokenizerError(
        f"{type(tokenizer).__name__} is no tokenizer longctx can read; give a hub id, a folder, a tokenizer.json, a tokenizers.Tokenizer "
        "or a fast transformers tokenizer."
    )


def _from_name(name: str) -> TokenizerSpec:
    path = Path(name)
    if path.is_file():
        return _from_definition(_read(path), name=name, config={}, model_config={})
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".json" or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise TokenizerError(f"{name!r} does not exist; give a folder with a tokenizer.json, that file itself, or a hub id.")
    return _from_hub(name)


def _from_folder(path: Path) -> TokenizerSpec:
    definition = path / "tokenizer.json"
    config, model_config = (_json(path / file) for file in ("tokenizer_config.json", "config.json"))
    if definition.is_file():
        return _from_definition(_read(definition), name=str(path), config=config, model_config=model_config)
    if not config and not (path / "vocab.txt").is_file():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise TokenizerError(
            f"the folder {str(path)!r} has no tokenizer.json (it holds: {found}); save one with tokenizer.save_pretrained(folder)."
        )
    return _convert(str(path))


def _from_hub(name: str) -> TokenizerSpec:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def optional(file: str) -> dict[str, Any]:
        try:
            return _json(Path(hf_hub_download(name, file)))
        except EntryNotFoundError:
            return {}

    try:
        definition = _read(Path(hf_hub_download(name, "tokenizer.json")))
        return _from_definition(definition, name=name, config=optional("tokenizer_config.json"), model_config=optional("config.json"))
    except EntryNotFoundError:
        return _convert(name)
    except (OSError, ValueError) as error:
        raise TokenizerError(
            f"{name!r} is neither a file or folder here nor a hub id that can be reached ({type(error).__name__}: {error}); "
            "check the name, or download the model and give its folder."
        ) from error


def _convert(name: str) -> TokenizerSpec:
    """Let transformers build the fast form of a tokenizer that was saved without one."""
    from transformers import AutoTokenizer

    try:
        return _from_transformers(AutoTokenizer.from_pretrained(name))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise TokenizerError(
            f"{name!r} has no tokenizer.json and transformers cannot make one ({error}); save the fast tokenizer there first."
        ) from error


def _from_transformers(tokenizer: Any) -> TokenizerSpec:
    limit = tokenizer.model_max_length
    has_pad_token = tokenizer.pad_token_id is not None
    return TokenizerSpec(
        definition=tokenizer.backend_tokenizer.to_str(),
        name=tokenizer.name_or_path or type(tokenizer).__name__,
        pad_id=tokenizer.pad_token_id if has_pad_token else 0,
        pad_token_type_id=tokenizer.pad_token_type_id,
        padding_side=tokenizer.padding_side,
        has_token_type_ids="token_type_ids" in tokenizer.model_input_names,
        model_max_tokens=int(limit) if limit and limit < _NO_LIMIT else None,
        has_pad_token=has_pad_token,
    )


def _from_definition(definition: str, *, name: str, config: dict[str, Any], model_config: dict[str, Any]) -> TokenizerSpec:
    try:
        parsed = json.loads(definition)
        if not isinstance(parsed, dict) or "model" not in parsed:
            raise ValueError("it has no model")
    except ValueError as error:
        raise TokenizerError(
            f"{name}: this is no tokenizer.json ({error}); write one with tokenizer.save() or save_pretrained()."
        ) from error
    padding = parsed.get("padding") or {}
    pad_id = _pad_id(parsed, config, padding)
    inputs = config.get("model_input_names")
    return TokenizerSpec(
        definition=definition,
        name=name,
        pad_id=pad_id if pad_id is not None else 0,
        pad_token_type_id=int(config.get("pad_token_type_id", padding.get("pad_type_id", 0))),
        padding_side=str(config.get("padding_side", padding.get("direction", "right"))).lower(),
        has_token_type_ids="token_type_ids" in inputs if inputs else None,
        model_max_tokens=_model_max_tokens(config, model_config),
        has_pad_token=pad_id is not None,
    )


def _pad_id(parsed: dict[str, Any], config: dict[str, Any], padding: dict[str, Any]) -> int | None:
    """Look where a padding id may stand, from the most to the least explicit."""
    named = config.get("pad_token")
    named = named.get("content") if isinstance(named, dict) else named
    added = {token["content"]: int(token["id"]) for token in parsed.get("added_tokens") or []}
    vocab = parsed["model"].get("vocab") if isinstance(parsed["model"], dict) else None
    vocab = vocab if isinstance(vocab, dict) else {}
    if named is None and "pad_id" in padding:
        return int(padding["pad_id"])
    ids = {**vocab, **added}
    candidates = (named,) if named is not None else _PAD_TOKENS
    return next((int(ids[token]) for token in candidates if token in ids), None)


def _model_max_tokens(config: dict[str, Any], model_config: dict[str, Any]) -> int | None:
    """Read the longest row from the tokenizer's or the model's configuration, whichever is less."""
    limits = []
    limit = config.get("model_max_length")
    if limit and limit < _NO_LIMIT:
        limits.append(int(limit))
    positions = model_config.get("max_position_embeddings") or model_config.get("n_positions")
    if positions and positions > 0:
        reserved = model_config.get("pad_token_id", 1) + 1 if model_config.get("model_type") in _POSITIONS_AFTER_PAD else 0
        limits.append(int(positions) - reserved)
    return min(limits) if limits else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{str(path)!r} cannot be read ({error}); give a readable tokenizer.json in UTF-8.") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        parsed = json.loads(_read(path))
    except ValueError as error:
        raise TokenizerError(f"{str(path)!r} is not JSON ({error}); mend or remove it.") from error
    return parsed if isinstance(parsed, dict) else {}
