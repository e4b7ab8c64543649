"""Low-rank adapters that training put on an encoder: found, and worked into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from longctx.nn.model import LongDocumentModel


def lora_layers(model: nn.Module) -> list[Any]:
    """Layers with adapters."""
    return [module for module in model.modules() if hasattr(module, "lora_A") and hasattr(module, "get_base_layer")]


def merge_lora(model: LongDocumentModel) -> None:
    """Work the adapters into the weights they stand beside: afterwards the encoder is what it was, with other numbers."""
    for name, module in list(model.encoder.named_modules()):
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            module.merge()
            parent = model.encoder.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    model.encoder.requires_grad_(requires_grad=True)
