"""What is asked of a model: which rows it reads, what a row is worth, and how values become probabilities."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from longctx.chunking import Chunker
from longctx.documents import is_utf8
from longctx.errors import ConfigError, ModelError
from longctx.inference.backends.base import LOGITS, Readout
from longctx.inference.decider import Decider
from longctx.inference.loop import RowRunner
from longctx.inference.questions import Question, question_of
from longctx.nn.aggregators import Aggregator, Mean, SoftmaxEvidence, build_aggregator
from longctx.nn.checkpoints import Checkpoint, entailment_index
from longctx.nn.config import probabilities
from longctx.results import Problem
from longctx.tokenizer_files import TokenizerSpec

if TYPE_CHECKING:
    from longctx.batch import ChunkBatch

MakeChunker = Callable[..., Chunker]
"""``Chunker`` with the tokenizer and the chunk options filled in; takes ``max_tokens`` and ``suffix``."""
MakeRunner = Callable[..., RowRunner]
"""``RowRunner`` with the backend filled in; takes a ``Readout`` and what finishes it."""

SIMILARITY_SCALE = 20.0
"""Cosine similarity to logit: the scale that sentence-transformers train such encoders with."""
SIMILARITY_EVIDENCE_SCALE = 20.0
"""Of 10, 20, 40 and 80 in ``benches/zero_shot.py``: 10 misses single passages, 40 and 80 gain nothing at rows of 128."""
ENTAILMENT_EVIDENCE_SCALE = 1.0
"""Entailment values are logits already. Not measured on an NLI checkpoint."""


@dataclass(frozen=True)
class Task:
    """One question to one model.

    Attributes:
        labels: names of the columns of the values.
        problem: how values become a decision.
        aggregator: chunk values to document values.
        chunker: cuts documents into rows.
        runner: gives the values of the rows.
        scale: values times this are logits.
        blank_is_neutral: an empty document gets equal probabilities instead of the model's view of special tokens.
        questions: what the model is asked about each chunk, one after the other; the values become columns. Empty: the rows as they are.
    """

    labels: tuple[str, ...]
    problem: Problem
    aggregator: Aggregator
    chunker: Chunker
    runner: RowRunner
    scale: float = 1.0
    blank_is_neutral: bool = False
    questions: tuple[Question, ...] = ()

    @property
    def full_lengths(self) -> frozenset[int]:
        """Tokens of rows that hold as much as fits."""
        n_fixed = self.chunker.max_tokens - self.chunker.room_tokens
        changes = [len(question.after_ids) - self.questions[0].n_after for question in self.questions]
        return frozenset(self.chunker.room_tokens + n_fixed + change for change in changes or [0])

    def ask(self, batch: ChunkBatch) -> tuple[ChunkBatch, ...]:
        """Rows of the same chunks for each question."""
        return tuple(question.ask(batch) for question in self.questions) or (batch,)

    def probabilities(self, values: Tensor) -> Tensor:
        """Values ``(..., n_labels)`` to probabilities of that shape; regression values stay as they are."""
        return values if self.problem == "regression" else probabilities(values * self.scale, self.problem)


@dataclass(frozen=True)
class Labels:
    """Names for zero-shot and the text that stands for each.

    Attributes:
        names: as the user wrote them.
        texts: what is embedded, or is the hypothesis.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]


def read_labels(labels: Any, template: str) -> Labels:
    """Check ``labels``: names, put into the template, or ``{name: description}``, where descriptions stand as they are.

    Raises:
        ConfigError: a str or set, fewer than two labels, blank or repeated ones, or a template without ``{}``.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ConfigError(f"hypothesis_template={template!r} must hold {{}} exactly once, where the label goes; for example 'About {{}}.'.")
    if isinstance(labels, str | bytes | Set) or not hasattr(labels, "__iter__"):  # a set has no order for the columns
        raise ConfigError(f"labels={labels!r} is of type {type(labels).__name__}; use a list of names or {{name: description}}.")
    names = list(labels)
    texts = [labels[name] for name in names] if hasattr(labels, "keys") else [template.replace("{}", str(name)) for name in names]
    for text in (*names, *texts):
        if not isinstance(text, str) or not text.strip() or not is_utf8(text):
            raise ConfigError(
                f"labels holds {text!r}; every label and description must be a str that is not blank and that UTF-8 can hold."
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"labels repeats {', '.join(map(repr, repeated))}; give each label once.")
    if len(names) < 2:  # noqa: PLR2004 - one label has nothing to be chosen from
        raise ConfigError(f"labels={names!r}: zero-shot chooses between labels, so give at least two.")
    return Labels(tuple(names), tuple(texts))


def pick_aggregator(aggregate: str | Aggregator, default: Aggregator) -> Aggregator:
    """``"auto"`` is the task's default, and so is asking for the kind that the default is.

    Raises:
        ConfigError: no aggregator has that name.
    """
    if isinstance(aggregate, Aggregator):
        return aggregate
    if aggregate == "auto":
        return default
    asked = build_aggregator(aggregate)
    return default if type(asked) is type(default) else asked


def trained_task(checkpoint: Checkpoint, make_chunker: MakeChunker, make_runner: MakeRunner, aggregate: str | Aggregator) -> Task:
    """Sequence classification or regression with the checkpoint's own head."""
    config = checkpoint.model.config
    problem: Problem = "single_label"
    if config.problem_type == "multi_label_classification":
        problem = "multi_label"
    elif config.problem_type == "regression" or config.num_labels == 1:
        problem = "regression"
    return Task(
        labels=checkpoint.label_names,
        problem=problem,
        aggregator=pick_aggregator(aggregate, Mean()),
        chunker=make_chunker(),
        runner=make_runner(LOGITS),
    )


def long_document_task(checkpoint: Checkpoint, make_chunker: MakeChunker, make_runner: MakeRunner, aggregate: str | Aggregator) -> Task:
    """Decide as a ``LongDocumentModel`` does, which was trained with its own aggregator."""
    model = checkpoint.decider
    if model is None:
        raise ModelError(f"{checkpoint.name} is no LongDocumentModel.")
    if aggregate != "auto":
        raise ModelError(f"{checkpoint.name} was trained with its own aggregator ({model.config.aggregator!r}); leave aggregate= out.")
    chunker, scale = make_chunker(), model.scale
    if model.config.states == "tokens":
        runner = make_runner(Readout("tokens", width=chunker.max_tokens))
    else:
        runner = make_runner(Readout("embedding", model.config.pooling), lambda embeddings: embeddings * scale)
    return Task(
        labels=model.config.labels,
        problem=model.config.problem,
        aggregator=Decider(model),
        chunker=chunker,
        runner=runner,
    )


def similarity_task(
    checkpoint: Checkpoint, labels: Labels, make_chunker: MakeChunker, make_runner: MakeRunner, aggregate: str | Aggregator
) -> Task:
    """Zero-shot: a chunk's value for a label is the cosine similarity of their embeddings."""
    embedding = Readout("embedding", checkpoint.pooling)
    chunker = make_chunker()
    targets = _embed_texts(labels.texts, chunker, make_runner(embedding))
    return Task(
        labels=labels.names,
        problem="single_label",
        aggregator=pick_aggregator(aggregate, SoftmaxEvidence(SIMILARITY_EVIDENCE_SCALE, centred=True)),
        chunker=chunker,
        runner=make_runner(embedding, lambda embeddings: embeddings @ targets.T),
        scale=SIMILARITY_SCALE,
        blank_is_neutral=True,
    )


def entailment_task(
    checkpoint: Checkpoint, labels: Labels, make_chunker: MakeChunker, make_runner: MakeRunner, aggregate: str | Aggregator
) -> Task:
    """Zero-shot: a chunk's value for a label is the logit that the chunk entails the label's hypothesis."""
    column = entailment_index(checkpoint.model.config)
    if column is None:
        raise ModelError(f"{checkpoint.name} has no entailment label; give an NLI checkpoint.")
    chunkers = _same_windows(labels.texts, make_chunker)
    return Task(
        labels=labels.names,
        problem="single_label",
        aggregator=pick_aggregator(aggregate, SoftmaxEvidence(ENTAILMENT_EVIDENCE_SCALE, centred=True)),
        chunker=chunkers[0],
        runner=make_runner(LOGITS, lambda logits: logits[:, column : column + 1]),
        questions=tuple(question_of(chunker) for chunker in chunkers),
    )


def _same_windows(hypotheses: tuple[str, ...], make_chunker: MakeChunker) -> tuple[Chunker, ...]:
    """One chunker per hypothesis; rows of shorter ones are shortened, so that all cut a document alike."""
    chunkers = [make_chunker(suffix=hypothesis) for hypothesis in hypotheses]
    room = min(chunker.room_tokens for chunker in chunkers)
    return tuple(
        chunker
        if chunker.room_tokens == room
        else make_chunker(suffix=hypothesis, max_tokens=chunker.max_tokens - chunker.room_tokens + room)
        for chunker, hypothesis in zip(chunkers, hypotheses, strict=True)
    )


def _embed_texts(texts: tuple[str, ...], chunker: Chunker, runner: RowRunner) -> Tensor:
    """Float32 ``(n_texts, hidden)`` of length 1; a text of several rows is the mean of them."""
    batch = chunker(list(texts))
    rows = torch.from_numpy(runner.run(batch)).to(runner.device)
    owner = torch.from_numpy(batch.document_index).long().to(runner.device)
    sums = torch.zeros(len(texts), rows.shape[1], device=runner.device).index_add_(0, owner, rows)
    return torch.nn.functional.normalize(sums, dim=-1)


def chunker_maker(spec: TokenizerSpec, *, max_tokens: int, overlap_tokens: int, options: dict[str, Any]) -> MakeChunker:
    """Settle everything about a ``Chunker`` but its suffix."""
    # int32 rows take half the memory; the loop widens a batch at a time.
    settled = {"max_tokens": max_tokens, "overlap_tokens": overlap_tokens, "dtype": "int32", **options}

    def make(**changes: Any) -> Chunker:
        return Chunker(spec, **{**settled, **changes})

    return make
