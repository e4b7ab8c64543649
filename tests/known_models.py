"""Small random models of the architectures whose layers are known."""

from __future__ import annotations

from typing import Any

import torch
import transformers

KNOWN = ["Bert", "Electra", "Ernie", "Roberta", "XLMRoberta", "Camembert", "Data2VecText", "DistilBert"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "embedding_size": 8}
SMALLER = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
N_IDS = 50


def model_of(family: str, head: str = "ForSequenceClassification", **options: Any) -> Any:
    torch.manual_seed(0)
    sizes = SMALLER if family == "DistilBert" else SMALL
    own = {"initializer_range": 0.3, "vocab_size": N_IDS, "max_position_embeddings": 64}
    config = getattr(transformers, f"{family}Config")(**{**sizes, **own, **options})
    return getattr(transformers, family + head)(config).eval()


def heard(model: Any, part: str = "encoder") -> Any:
    """A model whose user looks at what a part of it gives."""
    model.bert.get_submodule(part).register_forward_hook(lambda module, given, output: None)
    return model


def some_ids(*shape: int) -> torch.Tensor:
    return torch.randint(5, N_IDS, shape, generator=torch.Generator().manual_seed(1))
