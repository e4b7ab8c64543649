"""Tiny random checkpoints of the families people use, made in process and saved as they would be: no network, no downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

import longctx
from tokenizers_built import fresh

MAX_TOKENS = 32
DOCUMENTS = [
    "The quick brown fox jumps over the lazy dog. " * 9,
    "short",
    "A document is cut into chunks, and a chunk is what one row of the encoder can hold. Naïve Gäste. " * 5,
    "numbers 0 1 2 3 10 42 and signs",
    "Long documents lose their endings when nobody looks: reading, reads, reader, readers, unread. " * 3,
]


class Family(NamedTuple):
    """What a model family needs to become a tiny checkpoint."""

    config: str
    tokenizer: str
    pad_token: str | None
    options: dict[str, Any]
    has_types: bool = False


_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_BERT = {**_SMALL, "max_position_embeddings": MAX_TOKENS, "initializer_range": 0.3}
_ROBERTA = {**_BERT, "max_position_embeddings": MAX_TOKENS + 2, "pad_token_id": 1}
FAMILIES = {
    "Bert": Family("BertConfig", "bert_like", "[PAD]", _BERT, has_types=True),
    "Roberta": Family("RobertaConfig", "roberta_like", "<pad>", _ROBERTA),
    "XLMRoberta": Family(
        "XLMRobertaConfig", "t5_like", "<pad>", {**_ROBERTA, "max_position_embeddings": MAX_TOKENS + 1, "pad_token_id": 0}
    ),
    "DistilBert": Family(
        "DistilBertConfig",
        "bert_like",
        "[PAD]",
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": MAX_TOKENS, "initializer_range": 0.3},
    ),
    "ModernBert": Family(
        "ModernBertConfig",
        "roberta_like",
        "<pad>",
        {**_BERT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "local_attention": 8},
    ),
    "DebertaV2": Family(
        "DebertaV2Config",
        "bert_like",
        "[PAD]",
        {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
        has_types=True,
    ),
    "XLNet": Family(
        "XLNetConfig", "xlnet_like", "<pad>", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 5}, True
    ),
    "GPT2": Family("GPT2Config", "gpt2_like", None, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": MAX_TOKENS}),
}


def save_tokenizer(family: str, folder: Path) -> PreTrainedTokenizerFast:
    """The family's tokenizer as transformers saves it."""
    recipe = FAMILIES[family]
    side = "left" if family == "XLNet" else "right"
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if recipe.has_types else ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fresh(recipe.tokenizer),
        pad_token=recipe.pad_token,
        padding_side=side,
        model_input_names=inputs,
        model_max_length=MAX_TOKENS,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_checkpoint(folder: Path, family: str = "Bert", head: str = "ForSequenceClassification", **options: Any) -> Path:
    """Save a random model with its tokenizer; ``options`` go into its config (num_labels, id2label, problem_type)."""
    recipe = FAMILIES[family]
    tokenizer = save_tokenizer(family, folder)
    config = getattr(transformers, recipe.config)(vocab_size=len(tokenizer), **{**recipe.options, **options})
    torch.manual_seed(7)
    model = getattr(transformers, family + head)(config).eval()
    model.save_pretrained(folder)
    return folder


def naive_rows(folder: Path, document: str, *, max_tokens: int, overlap_tokens: int) -> list[tuple[list[int], int]]:
    """Rows and their fresh tokens by truncation with stride, straight from `tokenizers`."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, stride=overlap_tokens)
    first = tokenizer.encode(document)
    rows = []
    for i, window in enumerate([first, *first.overflowing]):
        n_content = window.special_tokens_mask.count(0)
        rows.append((window.ids, n_content - (overlap_tokens if i else 0)))
    return rows


def naive_values(folder: Path, document: str, *, max_tokens: int, overlap_tokens: int) -> NDArray[np.float64]:
    """The mean of the rows' logits by fresh tokens: one row at a time through transformers, nothing clever."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = naive_rows(folder, document, max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids])).logits[0].double().numpy() for ids, _ in rows]
    return np.average(np.stack(logits), axis=0, weights=[max(fresh, 1) for _, fresh in rows])


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def wrap_forward(classifier: longctx.LongDocumentClassifier, wrap: Callable[[Callable[..., Any]], Any]) -> list[Any]:
    """Put a wrapper around what the classifier calls, for rectangles of rows and for packed ones; gives the wrappers."""
    runner = classifier._task.runner
    backends = [runner.backend, *([] if runner.packed is None else [runner.packed])]
    for backend in backends:
        backend.model.forward = wrap(backend.model.forward)
    return [backend.model.forward for backend in backends]


class OutOfMemoryAbove:
    """Wraps a model's forward: more than ``n_tokens`` at a time is out of memory; counts how often."""

    def __init__(self, forward: Callable[..., Any], n_tokens: int, error: Exception) -> None:
        self.forward = forward
        self.n_tokens = n_tokens
        self.error = error
        self.n_errors = 0

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        if input_ids.numel() > self.n_tokens:
            self.n_errors += 1
            raise self.error
        return self.forward(input_ids=input_ids, **inputs)


class OutOfMemoryAtRandom:
    """Wraps a model's forward: batches of several rows run out of memory now and then."""

    def __init__(self, forward: Callable[..., Any], seed: int) -> None:
        self.forward = forward
        self.rng = np.random.default_rng(seed)

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        if len(inputs.get("row_lengths", input_ids)) > 1 and self.rng.random() < 0.3:
            raise torch.OutOfMemoryError
        return self.forward(input_ids=input_ids, **inputs)
