"""``LongDocumentModel``: an encoder, an aggregator over the states of all chunks, and a head. Trained, saved, loaded as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longctx.errors import ConfigError
from longctx.nn.aggregators import LearnedAggregator, build_learned
from longctx.nn.aggregators.base import FullPrecision, exact, full
from longctx.nn.checkpoints import Checkpoint, model_max_tokens
from longctx.nn.config import OVERLAP_SHARE, LongDocumentConfig, States
from longctx.nn.embedding import embed_rows
from longctx.nn.encoders import default_pooling, hidden_size, load_encoder
from longctx.nn.rows import DocumentBatch, Padding, RowBatch, in_order, row_batches, stack
from longctx.results import Problem
from longctx.tokenizer_files import TokenizerSpec, find

if TYPE_CHECKING:
    from longctx.chunking import Chunker
    from longctx.nn.embedding import Pooling

ROW_TOKENS_TOGETHER = 4096
"""Tokens that go through the encoder at a time, unless ``token_budget`` says otherwise."""
CHUNKING_OPTIONS = ("boundary", "tail", "specials")
"""Options of ``Chunker`` that belong to a model: with others, its chunks would be others than those it has learned from."""


class Head(FullPrecision):
    """From a document's state to its values ``(n_documents, n_labels)``: one state for all labels, or one for each.

    ``center`` and ``spread``, float32 ``(hidden,)``, are saved with the weights: see ``standardize``.

    Args:
        hidden: width of a document's state: the aggregator's ``output_width``.
        n_labels: outputs.
        dropout: of the states, in training.
    """

    def __init__(self, hidden: int, n_labels: int, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_labels, hidden))
        self.bias = nn.Parameter(torch.zeros(n_labels))
        self.dropout = nn.Dropout(dropout)
        self.center: Tensor
        self.spread: Tensor
        self.register_buffer("center", torch.zeros(hidden))
        self.register_buffer("spread", torch.ones(hidden))
        nn.init.normal_(self.weight, std=hidden**-0.5)

    @torch.no_grad()
    def standardize(self, center: Tensor, spread: Tensor) -> None:
        """See states less this center, in units of this spread, both ``(hidden,)``. Weights change with it, so that values do not."""
        self.bias.add_(((center - self.center) / self.spread * self.weight).sum(dim=1))
        self.weight.mul_(spread / self.spread)
        self.center.copy_(center)
        self.spread.copy_(spread)

    def forward(self, states: Tensor) -> Tensor:
        """``(n_documents, hidden)`` or ``(n_documents, n_labels, hidden)`` to ``(n_documents, n_labels)``."""
        with exact(states):
            states = self._seen(states)
            if states.dim() == 2:  # noqa: PLR2004 - one state for all labels
                return states @ self.weight.T + self.bias
            return (states * self.weight).sum(dim=-1) + self.bias

    def values_of_shares(self, shares: Tensor, states: Tensor) -> Tensor:
        """Values ``(n_documents, n_labels)`` where each label's state is a sum of the same ones, without writing those sums out.

        In training, dropout falls on the states, before they are summed.

        Args:
            shares: ``(n_documents, n_states, n_labels)``, of sum 1 over the states, or 0 for a document without any.
            states: ``(n_documents, n_states, hidden)``.
        """
        with exact(states):
            scores = self._seen(states) @ self.weight.T
            of_nothing = (self.center / self.spread * self.weight).sum(dim=1)
            values: Tensor = (shares * scores).sum(dim=1) - (1 - shares.sum(dim=1)) * of_nothing + self.bias
        return values

    def _seen(self, states: Tensor) -> Tensor:
        seen: Tensor = self.dropout((full(states) - self.center) / self.spread)
        return seen


class LongDocumentModel(nn.Module):
    """Reads documents of any length: every chunk goes through the encoder, and the aggregator and the head see all of them.

    Made by ``from_encoder`` for training, or by ``from_pretrained``. A chunk's state is what ``embed_rows`` makes of its token states,
    times the square root of its width, so that its numbers are about 1 in size whatever the encoder.

    Attributes:
        config: everything but the weights.
        encoder: a transformers model that gives token states.
        hidden: width of the states.
        aggregator: chunk states to document states.
        head: document states to values.
        tokenizer: anything ``Chunker`` takes.
        name: where the model came from, for messages.
        report: a measured ``Report`` that goes into the model card; None before ``Trainer.evaluate``.
    """

    def __init__(self, config: LongDocumentConfig, encoder: Any, tokenizer: Any, *, name: str = "the model") -> None:
        super().__init__()
        hidden = hidden_size(encoder)
        self.hidden = hidden
        self.config = config
        self.encoder = encoder
        self.aggregator = build_learned(config.aggregator, hidden=hidden, n_labels=config.n_labels, **config.aggregator_options)
        width = self.aggregator.output_width if isinstance(self.aggregator, LearnedAggregator) else hidden
        self.head = Head(width, config.n_labels, config.dropout)
        self.tokenizer = tokenizer
        self.name = name
        self.report: Any = None
        self._spec: TokenizerSpec = find(tokenizer)
        self._scale = math.sqrt(hidden)
        self._frozen: list[Tensor] = []
        if config.states == "tokens" and not isinstance(self.aggregator, LearnedAggregator):
            raise ConfigError(
                f"states='tokens' with aggregator={config.aggregator!r}: tokens need one that learns, like 'label_attention'."
            )

    @classmethod
    def from_encoder(
        cls,
        encoder: Any,
        *,
        labels: Sequence[str],
        problem: Problem = "single_label",
        aggregator: str = "auto",
        aggregator_options: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        overlap_tokens: int | None = None,
        encoder_layers: int | None = None,
        pooling: Pooling | str = "auto",
        states: States = "chunks",
        dropout: float = 0.1,
        tokenizer: Any = None,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        **chunking: Any,
    ) -> LongDocumentModel:
        """Put an untrained aggregator and head on an encoder.

        Args:
            encoder: "minilm" (from the extra ``longctx[minilm]``), a folder, a hub id, a loaded transformers model or ``(model,
                tokenizer)``. Any ``AutoModel``: encoders, long encoders like Longformer, the encoder of T5, decoder-only models.
            labels: names of the outputs; for a regression, of the values.
            problem: "single_label", "multi_label" or "regression".
            aggregator: a name of ``longctx.nn.aggregators.AGGREGATORS``; "auto" is "attention" for a single label and a regression, and
                "label_attention" for multi-label problems.
            aggregator_options: its own options.
            max_tokens: length of a row; None for what the encoder allows.
            overlap_tokens: tokens neighbouring chunks share; None for an eighth of a row.
            encoder_layers: keep only so many of the encoder's layers, from below; None for all. Sentence encoders end in layers that keep
                what sentences are about and drop how they are said: for a frozen MiniLM, 4 of its 6 layers know much more of opinions.
            pooling: "mean", "first" or "last" token; "auto" is "last" where tokens see only those before them, else the encoder's own.
            states: the aggregator reads one state for each chunk ("chunks") or all token states ("tokens").
            dropout: before the head, in training.
            tokenizer: instead of the encoder's own; anything ``Chunker`` takes.
            dtype: precision to load the encoder in.
            seed: of the new weights; the state of torch's random numbers is left as it was.
            **chunking: ``boundary``, ``tail``, ``specials`` as for ``Chunker``.

        Raises:
            ConfigError: an option is not allowed.
            ModelLoadError: the encoder cannot be found or read.
            MissingDependencyError: "minilm" without the extra.
        """
        checkpoint, settings = load_encoder(encoder, tokenizer, n_layers=encoder_layers, dtype=dtype)
        if aggregator == "auto":
            aggregator = "label_attention" if problem == "multi_label" else "attention"
        config = LongDocumentConfig(
            labels=_names(labels),
            problem=problem,
            aggregator=aggregator,
            aggregator_options=dict(aggregator_options or {}),
            pooling=default_pooling(checkpoint) if pooling == "auto" else pooling,  # type: ignore[arg-type]  # the config checks it
            states=states,
            **_row_lengths(checkpoint, max_tokens, overlap_tokens),
            chunking=_chunking(chunking),
            dropout=dropout,
            encoder=settings,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return cls(config, checkpoint.model, checkpoint.tokenizer, name=checkpoint.name)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, dtype: torch.dtype = torch.float32) -> LongDocumentModel:
        """Load a saved model from a folder or hub id, in eval mode. Safetensors only.

        Raises:
            ModelLoadError: there is none, or it cannot be read.
        """
        from longctx.nn.model_files import load_saved, need_saved

        return load_saved(need_saved(str(name)), str(name), dtype=dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write safetensors, configuration, tokenizer and a model card with the measured report, if there is one."""
        from longctx.nn.model_files import save

        save(self, Path(folder))

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None, commit_message: str | None = None) -> str:
        """Upload what ``save_pretrained`` writes to the Hugging Face hub; give the address of the commit."""
        from longctx.nn.model_files import push

        return push(self, repo_id, private=private, token=token, commit_message=commit_message)

    def chunker(self, **options: Any) -> Chunker:
        """Give the chunker whose rows this model reads: int32 ids."""
        from longctx.chunking import Chunker

        settled = {"max_tokens": self.config.max_tokens, "overlap_tokens": self.config.overlap_tokens, **self.config.chunking}
        return Chunker(self._spec, **{**settled, "dtype": "int32", **options})

    def freeze_encoder(self) -> None:
        """Let the encoder learn nothing, until ``thaw_encoder``."""
        self._frozen += [weight for weight in self.encoder.parameters() if weight.requires_grad]
        self.encoder.requires_grad_(requires_grad=False)

    def thaw_encoder(self) -> None:
        """Let those weights of the encoder learn again that ``freeze_encoder`` has stopped, and no others."""
        for weight in self._frozen:
            weight.requires_grad_(True)
        self._frozen = []

    def checkpoint(self, tokenizer: Any = None, *, was_loaded: bool = False) -> Checkpoint:
        """Give the encoder as the inference engine reads it, with this model to decide."""
        own = self.tokenizer if tokenizer is None else tokenizer
        longest = max(self.config.max_tokens, model_max_tokens(self.encoder, own))
        return Checkpoint(self.encoder, own, self.name, "long_document", longest, self.config.pooling, was_loaded, self)

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        device: torch.device = next(self.encoder.parameters()).device
        return device

    @property
    def padding(self) -> Padding:
        """How the encoder wants rows filled up."""
        # A left-padded row would have its positions shifted, so such rows only meet rows of their own length.
        pad_id = getattr(self.encoder.config, "pad_token_id", None)
        allowed = pad_id is not None and self._spec.padding_side == "right"
        return Padding(allowed, pad_id or 0, self._spec.pad_token_type_id)

    def forward(self, documents: DocumentBatch, *, token_budget: int = ROW_TOKENS_TOGETHER) -> Tensor:
        """Values float32 ``(n_documents, n_labels)``: logits, or the values of a regression."""
        states = documents.states
        if states is None:
            states = self.encode(documents, token_budget=token_budget)
        return self.decide(states, documents)

    def encode(self, documents: DocumentBatch, *, token_budget: int = ROW_TOKENS_TOGETHER) -> Tensor:
        """States ``(n_rows, hidden)`` of all rows, or ``(n_tokens, hidden)`` of all their tokens, in their order."""
        batches = list(self.batches(documents, token_budget=token_budget))
        return in_order([self.encode_rows(batch) for batch in batches], [self.places(batch, documents) for batch in batches])

    def batches(self, documents: DocumentBatch, *, token_budget: int = ROW_TOKENS_TOGETHER) -> Iterator[RowBatch]:
        """Rows as they go through the encoder together."""
        return row_batches(documents, token_budget=token_budget, padding=self.padding)

    def encode_rows(self, batch: RowBatch) -> Tensor:
        """States ``(n_rows, hidden)`` of one batch, or ``(n_tokens, hidden)`` of all its tokens that are not padding."""
        inputs = {"input_ids": batch.ids}
        if batch.mask is not None:
            inputs["attention_mask"] = batch.mask.long()
        if batch.types is not None:
            inputs["token_type_ids"] = batch.types
        hidden = self.encoder(**inputs).last_hidden_state
        if self.config.states == "tokens":
            return full(hidden.flatten(0, 1) if batch.mask is None else hidden[batch.mask])
        return embed_rows(hidden, batch.mask, pooling=self.config.pooling) * self._scale

    def places(self, batch: RowBatch, documents: DocumentBatch) -> Tensor:
        """Where the states of a batch belong among those of its documents."""
        if self.config.states == "chunks":
            return batch.rows
        starts = documents.lengths.cumsum(0) - documents.lengths
        return torch.cat([torch.arange(length) + starts[row] for row, length in zip(batch.rows.tolist(), batch.lengths, strict=True)])

    def decide(self, states: Tensor, documents: DocumentBatch) -> Tensor:
        """Values ``(n_documents, n_labels)`` from the states of all rows."""
        return self.values(*self.stack_states(states, documents))

    def stack_states(self, states: Tensor, documents: DocumentBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give what the aggregator reads: states ``(n_documents, n_states, hidden)``, their mask, and the fresh tokens of chunks."""
        counts = documents.n_chunks
        if self.config.states == "tokens":
            ends = documents.lengths.cumsum(0)[counts.cumsum(0) - 1]
            counts = ends.diff(prepend=ends.new_zeros(1))
            return (*stack(states, counts), None)
        fresh, _ = stack(documents.fresh_tokens.unsqueeze(-1), counts)
        return (*stack(states, counts), fresh.squeeze(-1))

    def values(self, states: Tensor, mask: Tensor, fresh_tokens: Tensor | None) -> Tensor:
        """Values ``(n_documents, n_labels)`` from stacked states ``(n_documents, n_states, hidden)``."""
        return self.aggregator.head_values(states, mask, fresh_tokens, self.head)

    @property
    def scale(self) -> float:
        """A chunk's state is its embedding times this."""
        return self._scale

    def extra_repr(self) -> str:
        """Tell torch what to show of it, beside its parts."""
        config = self.config
        return f"{config.problem}, {config.n_labels} labels, rows of {config.max_tokens} tokens, overlap {config.overlap_tokens}"


def _names(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str | bytes) or not isinstance(labels, Sequence):
        raise ConfigError(f"labels={labels!r} is of type {type(labels).__name__}; give a list of names, in the order of the outputs.")
    return tuple(labels)


def _row_lengths(checkpoint: Checkpoint, max_tokens: int | None, overlap_tokens: int | None) -> dict[str, int]:
    longest = checkpoint.max_tokens if max_tokens is None else max_tokens
    if longest > checkpoint.max_tokens:
        raise ConfigError(f"max_tokens={longest}: {checkpoint.name} reads at most {checkpoint.max_tokens} tokens; use that or less.")
    return {"max_tokens": longest, "overlap_tokens": longest // OVERLAP_SHARE if overlap_tokens is None else overlap_tokens}


def _chunking(options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - set(CHUNKING_OPTIONS))
    if unknown:
        raise ConfigError(f"Unknown option {unknown[0]!r}; the options for chunking are {', '.join(CHUNKING_OPTIONS)}.")
    return dict(options)
