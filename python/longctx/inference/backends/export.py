"""From a torch model to an OpenVINO graph: export, comparison with torch, int8 by post-training quantization; kept in the cache."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longctx.chunking import Chunker
from longctx.doctor import package_version
from longctx.errors import ModelError, one_line
from longctx.inference.backends.base import ModelFacts, Readout, read_facts
from longctx.inference.backends.cache import cache_folder, discard, fingerprint, is_whole, publish
from longctx.inference.backends.calibration_texts import CALIBRATION_TEXTS
from longctx.inference.backends.first_token import FirstTokenLayer, is_first_token_model
from longctx.inference.backends.openvino_backend import OpenVinoBackend, Precision, import_openvino, without_telemetry
from longctx.inference.backends.torch_backend import TorchBackend, read_output
from longctx.inference.backends.twins import is_of_transformers, sees_all
from longctx.nn.checkpoints import Checkpoint, quiet_transformers
from longctx.tokenizer_files import find

logger = logging.getLogger(__name__)

RECIPE = 5
"""Counts changes here, or of how layers are computed, that give another graph for the same model."""
TOLERANCE = 1e-4
"""Largest difference to torch in float32, relative to the largest value where that is above 1."""
CALIBRATION_TOKENS = 256
"""Longest calibration row: long enough for attention to have something to choose from, short enough to end in seconds."""
PADDING_SCORE = -10_000.0
"""Added to what attention would give padding, as BERT's authors do; its exponential is zero in every precision."""
FILE = "model.xml"


def open_openvino(checkpoint: Checkpoint, readout: Readout, precision: Precision, *, weights: str) -> OpenVinoBackend:
    """Load the exported model from the cache, or make it first, which takes seconds, with int8 a minute.

    Args:
        checkpoint: the model in float32 on the CPU.
        readout: what a row is worth.
        precision: "bfloat16" is the float32 graph computed in bfloat16.
        weights: the ``model_fingerprint``.

    Raises:
        MissingDependencyError: the extra is not installed.
        ModelError: OpenVINO cannot express the model, or computes something else than torch does.
    """
    openvino = import_openvino()
    is_int8 = precision == "int8"
    versions = [package_version(name) for name in ("openvino", "torch", "transformers", *(("nncf", "tokenizers") if is_int8 else ()))]
    is_first_token = is_first_token_model(checkpoint.model)
    key = fingerprint(RECIPE, weights, readout.kind, readout.pooling, is_first_token, versions, CALIBRATION_TEXTS if is_int8 else None)
    folder = cache_folder() / "openvino" / key
    facts = read_facts(checkpoint.model)
    exported = _load(openvino, folder)
    if exported is None:
        exported = export(checkpoint, readout, facts)
        if is_int8:
            exported = quantize(exported, checkpoint, facts)
        if publish(folder, lambda draft: openvino.save_model(exported, draft / FILE, compress_to_fp16=False)):
            exported = _load(openvino, folder) or exported  # from the file its weights are mapped, not held
    return OpenVinoBackend(exported, facts, readout, precision=precision)


def _load(openvino: Any, folder: Path) -> Any:
    """Give the model in the cache; None where there is none, or a broken one, which is removed."""
    if not folder.exists():
        return None
    if is_whole(folder):
        try:
            return openvino.Core().read_model(folder / FILE)
        except RuntimeError as error:
            logger.info("the exported model in %s cannot be read: %s", folder, one_line(error))
    discard(folder)
    return None


def export(checkpoint: Checkpoint, readout: Readout, facts: ModelFacts) -> Any:
    """Give an ``openvino.Model`` for any number and length of rows that gives what torch gives.

    Raises:
        ModelError: as above.
    """
    openvino = import_openvino()
    # Without a pad token, heads that read the last token take one row at a time, and can be traced with no more.
    example = _rows(checkpoint, n_rows=2 if facts.can_pad else 1, width=min(7, checkpoint.max_tokens))
    inputs = {"input_ids": example}
    if facts.takes_mask:
        inputs["attention_mask"] = torch.ones_like(example)
    if facts.takes_types:
        inputs["token_type_ids"] = torch.zeros_like(example)
    try:
        with torch.no_grad(), quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every branch on a shape; the comparison below is what counts
            exported = openvino.convert_model(_Exportable(checkpoint.model, readout), example_input=inputs)
        _check_equal(checkpoint, readout, facts, exported)
    except ModelError:
        raise
    except Exception as error:  # torch's tracer and OpenVINO's frontend raise whatever they stumble over
        raise ModelError(f"{checkpoint.name} cannot be exported to OpenVINO ({one_line(error)}); use backend='torch'.") from error
    return exported


class _Exportable(nn.Module):
    """The model together with its readout, as one graph."""

    def __init__(self, model: nn.Module, readout: Readout) -> None:
        super().__init__()
        self.model = model
        self.readout = readout
        # A decoder's cache is of no use for one pass, and starts as empty tensors that OpenVINO cannot join to others.
        self.settings = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        self._sees_all = sees_all(model) and is_of_transformers(model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None) -> Tensor:
        mask = attention_mask
        if mask is not None and self._sees_all:
            # One line for all queries of a row, to be added: transformers makes width x width truth values of it, which takes OpenVINO a
            # tenth of the whole time.
            mask = (1.0 - mask[:, None, None, :].float()) * PADDING_SCORE
        given = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": token_type_ids}
        output = self.model(**{name: tensor for name, tensor in given.items() if tensor is not None}, **self.settings)
        return read_output(output, attention_mask, self.readout)


def _check_equal(checkpoint: Checkpoint, readout: Readout, facts: ModelFacts, exported: Any) -> None:
    """Compare with torch on other shapes than the example's: tracing can bake a shape, or a branch, into the graph."""
    theirs = OpenVinoBackend(exported, facts, readout, precision="float32")
    ours = TorchBackend(checkpoint.model, readout, device=torch.device("cpu"))
    longest = min(checkpoint.max_tokens, 48)
    for n_rows, width in ((1, longest), (3, min(11, longest)), (1, 1)):
        n_rows = n_rows if facts.can_pad else 1  # noqa: PLW2901 - such heads take one row at a time
        ids = _rows(checkpoint, n_rows=n_rows, width=width)
        mask = None
        if facts.takes_mask and facts.can_pad and n_rows > 1:
            mask = torch.arange(width) < torch.tensor([[width], [width // 2 + 1], [2]])
            ids = ids.masked_fill(~mask, checkpoint.model.config.pad_token_id)
        expected, got = ours.run(ids, mask, None), theirs.run(ids, mask, None)
        difference = float((expected - got).abs().max())
        if expected.shape != got.shape or not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise ModelError(
                f"{checkpoint.name} gives other values through OpenVINO than through torch (they differ by {difference:.2g}); "
                "use backend='torch'."
            )


def _rows(checkpoint: Checkpoint, *, n_rows: int, width: int) -> Tensor:
    """Make ids int64 ``(n_rows, width)``, none of them padding where the vocabulary has a choice."""
    n_ids = read_facts(checkpoint.model).n_known_ids or 2
    ids = torch.arange(n_rows * width).reshape(n_rows, width) * 7919 % n_ids
    pad = getattr(checkpoint.model.config, "pad_token_id", None)
    return ids if pad is None else torch.where(ids == pad, (pad + 1) % n_ids, ids)


def quantize(exported: Any, checkpoint: Checkpoint, facts: ModelFacts) -> Any:
    """Weights and activations of the encoder's matrix products to int8, with activation scales fixed here once for all.

    The scales come from texts in this package and never from the user's: a scale found from documents would let one
    document change another's result, and the same document be judged otherwise tomorrow. What is computed once for a row
    stays as it is: it is little work, and decides.
    """
    with without_telemetry():
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own setter also changes handlers, which others may share
    rows = calibration_rows(checkpoint)

    def inputs(row: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        extra = [np.ones_like(row)] if facts.takes_mask else []
        return [row, *extra, *([np.zeros_like(row)] if facts.takes_types else [])]

    # Its bars go to standard output, which belongs to results.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nncf.quantize(
            exported,
            nncf.Dataset(rows, inputs),
            subset_size=len(rows),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(patterns=_once_patterns(checkpoint.model), validate=False),
        )


def _once_patterns(model: nn.Module) -> list[str]:
    """Patterns of the names that the graph gives to what is computed once for a row: pooler and head, and the first token's last layer.

    The ranges of that layer would be found from as many values as there are calibration rows: with its products quantized, 2.7 % of the
    labels of 1,000 laws changed, else 1.0 %. Its keys and values are of all tokens, and stay quantized; so does what attention is given.
    """
    prefix = getattr(model, "base_model_prefix", "")
    inside = f"{prefix}." if prefix and hasattr(model, prefix) else ""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    behind = [name for name in linear if not name.startswith(inside) or name.removeprefix(inside).startswith("pooler")]
    last = [layer.parts for layer in model.modules() if isinstance(layer, FirstTokenLayer)]
    once = [part for parts in last for part in (parts.query, parts.output, parts.up, parts.down)]
    behind += [name for name, module in linear.items() if any(module is part for part in once)]
    return [rf"__module\.model\.{re.escape(name)}/.*" for name in behind]


def calibration_rows(checkpoint: Checkpoint) -> list[np.ndarray[Any, Any]]:
    """Rows int64 ``(1, width)`` of the texts in the package, by the checkpoint's own tokenizer, without padding."""
    chunker = Chunker(find(checkpoint.tokenizer), max_tokens=min(CALIBRATION_TOKENS, checkpoint.max_tokens), overlap_tokens=0)
    batch = chunker(list(CALIBRATION_TEXTS))
    from_left = batch.padding_side == "right"
    ids = batch.input_ids
    rows = [ids[i : i + 1, :n] if from_left else ids[i : i + 1, batch.width - n :] for i, n in enumerate(batch.lengths.tolist())]
    return [np.ascontiguousarray(row) for row in rows]
