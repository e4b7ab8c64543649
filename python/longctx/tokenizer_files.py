"""Finds a tokenizer wherever users have one, and reads what its definition does not say: padding and the model's longest row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from longctx import _core
from longctx.errors import TokenizerError, one_line

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")
_NO_LIMIT = 10**9  # transformers writes 1e30 for "no limit"
_SHOWN_CHARS = 200  # of a name that is too long to show
_POSITIONS_AFTER_PAD = [
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "longformer",
    "mpnet",
    "roberta-prelayernorm",
    "xmod",
]  # a list: the type may be unhashable


@dataclass(frozen=True)
class TokenizerSpec:
    """A tokenizer as the core takes it.

    Attributes:
        definition: the bytes of ``tokenizer.json``: as text, those of a large vocabulary would be decoded and encoded again.
        name: what the user gave, for messages.
        pad_id: fills rows up; 0 where the tokenizer has no padding token, and then only lengths tell padding from text.
        pad_token_type_id: fills segments up.
        padding_side: ``"left"`` or ``"right"``.
        has_token_type_ids: whether its models take segments; None where only the template can tell.
        model_max_tokens: the longest row its model reads; None where nothing says.
        has_pad_token: whether ``pad_id`` is the tokenizer's own.
    """

    definition: bytes
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
        TokenizerError: there is none, or it has no ``tokenizer.json`` form. What is wrong inside its model is found by who loads it.
    """
    if isinstance(tokenizer, TokenizerSpec):
        return tokenizer
    if isinstance(tokenizer, str | PathLike):
        return _from_name(fspath(tokenizer))
    if hasattr(tokenizer, "backend_tokenizer"):
        return _from_transformers(tokenizer)
    if hasattr(tokenizer, "to_str") and hasattr(tokenizer, "encode_batch"):
        name = "the given tokenizers.Tokenizer"
        return _from_definition(_definition_of(tokenizer, name), name=name, config={}, model_config={})
    raise TokenizerError(
        f"{type(tokenizer).__name__} is no tokenizer longctx can read; give a hub id, a folder, a tokenizer.json, a tokenizers.Tokenizer "
        "or a fast transformers tokenizer."
    )


def _from_name(name: str) -> TokenizerSpec:
    if not name.strip():
        raise TokenizerError(f"the tokenizer's name is {name!r}; give a folder with a tokenizer.json, that file itself, or a hub id.")
    path = Path(name)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder on the way that may not be entered
        raise TokenizerError(f"{name[:_SHOWN_CHARS]!r} cannot be read ({error.strerror}); give the path of a readable folder.") from error
    if is_file:
        return _from_definition(_read(path), name=name, config={}, model_config={})
    if is_folder:
        return _from_folder(path)
    if path.suffix == ".json" or name.startswith((".", "/", "~")) or name.count("/") > 1:
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
    definition = _downloaded(name, "tokenizer.json")
    if definition is None:
        return _convert(name)
    config, model_config = (_downloaded(name, file) for file in ("tokenizer_config.json", "config.json"))
    return _from_definition(
        _read(definition),
        name=name,
        config=_json(config) if config else {},
        model_config=_json(model_config) if model_config else {},
    )


def _downloaded(name: str, file: str) -> Path | None:
    """Fetch a file of a hub id, from the cache where the hub cannot be asked; None where it has no such file.

    Raises:
        TokenizerError: there is no such hub id, or the hub cannot be asked and the file is not in the cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except (OSError, ValueError) as error:
        is_unreachable = isinstance(error, LocalEntryNotFoundError)
        if isinstance(error, EntryNotFoundError) and (not is_unreachable or file != "tokenizer.json"):
            return None
        raise TokenizerError(
            f"{name!r} is neither a file or folder here nor a hub id that can be reached ({type(error).__name__}: {one_line(error)}); "
            "check the name, or download the model and give its folder."
        ) from error


def _convert(name: str) -> TokenizerSpec:
    """Let transformers build the fast form of a tokenizer that was saved without one. Code from a checkpoint is never run."""
    from transformers import AutoTokenizer

    try:
        return _from_transformers(AutoTokenizer.from_pretrained(name, trust_remote_code=False))
    except TokenizerError:
        raise
    except Exception as error:  # transformers raises whatever a damaged file makes it stumble over
        raise TokenizerError(
            f"{name!r} has no tokenizer.json and transformers cannot make one ({one_line(error)}); save the fast tokenizer there first."
        ) from error


def _definition_of(tokenizer: Any, name: str) -> bytes:
    """Write a ``tokenizers.Tokenizer`` down; those with components in Python cannot be."""
    try:
        return str(tokenizer.to_str()).encode()
    except Exception as error:  # `tokenizers` has no class of its own for this
        raise TokenizerError(
            f"{name} cannot be written as a tokenizer.json ({one_line(error)}); use components of `tokenizers` only."
        ) from error


def _from_transformers(tokenizer: Any) -> TokenizerSpec:
    limit = _setting({"model_max_length": tokenizer.model_max_length}, "model_max_length", int | float)
    has_pad_token = tokenizer.pad_token_id is not None
    name = tokenizer.name_or_path or type(tokenizer).__name__
    return TokenizerSpec(
        definition=_definition_of(tokenizer.backend_tokenizer, name),
        name=name,
        pad_id=tokenizer.pad_token_id if has_pad_token else 0,
        pad_token_type_id=tokenizer.pad_token_type_id,
        padding_side=tokenizer.padding_side,
        has_token_type_ids="token_type_ids" in tokenizer.model_input_names,
        model_max_tokens=int(limit) if limit is not None and 0 < limit < _NO_LIMIT else None,
        has_pad_token=has_pad_token,
    )


def _from_definition(definition: bytes, *, name: str, config: dict[str, Any], model_config: dict[str, Any]) -> TokenizerSpec:
    named = _setting(config, "pad_token", str | dict)
    named = str(named.get("content")) if isinstance(named, dict) else named
    padding, token_id = _outline(definition, _PAD_TOKENS if named is None else (named,), name)
    written_id, type_id, direction = padding or (None, 0, None)
    pad_id = token_id if named is not None or written_id is None else written_id  # from the most to the least explicit
    inputs = _setting(config, "model_input_names", list)
    pad_token_type_id = _setting(config, "pad_token_type_id", int)
    return TokenizerSpec(
        definition=definition,
        name=name,
        pad_id=pad_id if pad_id is not None else 0,
        pad_token_type_id=type_id if pad_token_type_id is None else pad_token_type_id,
        padding_side=(_setting(config, "padding_side", str) or direction or "right").lower(),
        has_token_type_ids="token_type_ids" in inputs if inputs else None,
        model_max_tokens=_model_max_tokens(config, model_config),
        has_pad_token=pad_id is not None,
    )


def _outline(definition: bytes, pad_tokens: tuple[str, ...], name: str) -> tuple[tuple[int | None, int, str | None] | None, int | None]:
    """Give the padding written into a ``tokenizer.json``, and the id of a padding token.

    Of these tokens it is the first that is an added token, or else the first in the vocabulary.
    """
    try:
        return _core.outline(definition, pad_tokens)
    except ValueError as error:
        problem = one_line(error)
    raise TokenizerError(f"{name}: this is no tokenizer.json ({problem}); write one with tokenizer.save() or save_pretrained().")


def _model_max_tokens(config: dict[str, Any], model_config: dict[str, Any]) -> int | None:
    """Read the longest row from the tokenizer's or the model's configuration, whichever is less."""
    limit = _setting(config, "model_max_length", int | float)
    positions = _setting(model_config, "max_position_embeddings", int) or _setting(model_config, "n_positions", int)
    if positions and model_config.get("model_type") in _POSITIONS_AFTER_PAD:
        pad_id = _setting(model_config, "pad_token_id", int)
        positions -= (1 if pad_id is None else pad_id) + 1
    return min((int(known) for known in (limit, positions) if known is not None and 0 < known < _NO_LIMIT), default=None)


def _setting(config: dict[str, Any], key: str, kind: Any) -> Any:
    """Give a value of a configuration; None where it is missing or null.

    Raises:
        TokenizerError: it is of another kind.
    """
    value = config.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise TokenizerError(f"{key}={value!r} in the model's configuration files is a {type(value).__name__}; mend or remove it there.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{str(path)!r} cannot be read ({error}); give a readable file.") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        parsed = json.loads(_read(path).decode())
    except ValueError as error:
        raise TokenizerError(f"{str(path)!r} is not JSON ({error}); mend or remove it.") from error
    return parsed if isinstance(parsed, dict) else {}
