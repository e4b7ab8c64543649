"""Documents of any length in, one decision per document out: ``chunk_and_classify`` and ``LongDocumentClassifier``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from longctx.errors import ConfigError, ModelError
from longctx.inference.backends.base import Readout
from longctx.inference.backends.select import BackendOpener, Request
from longctx.inference.device import dtype_name, pick_device, pick_token_budget, weights_dtype
from longctx.inference.engine import DocumentRun
from longctx.inference.loop import Finish, RowRunner
from longctx.inference.packing import PackedBackend, pack_backend
from longctx.inference.progress import HIDDEN, Progress, document_progress
from longctx.inference.tasks import Task, chunker_maker, entailment_task, long_document_task, read_labels, similarity_task, trained_task
from longctx.nn.checkpoints import Checkpoint, load_checkpoint
from longctx.nn.config import OVERLAP_SHARE
from longctx.nn.embedding import minilm_folder
from longctx.results import Label, Prediction, Predictions, Problem
from longctx.tokenizer_files import find

if TYPE_CHECKING:
    from longctx.nn.aggregators import Aggregator
    from longctx.run_stats import RunStats

HYPOTHESIS_TEMPLATE = "This text is about {}."
MINILM_MAX_TOKENS = 128
"""Of 128, 256 and 512, the one that finds most single passages and is level otherwise; figures in ``chunk_and_classify``."""
TRAINED = ("classifier", "long_document")
"""Kinds of checkpoints that bring their own labels."""
CHUNK_OPTIONS = ("boundary", "tail", "select", "max_chunks", "seed", "specials", "threads")
"""Options of ``Chunker`` that are passed on."""


def chunk_and_classify(  # noqa: PLR0917 - the order is part of the interface
    documents: Any,
    model: Any = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    aggregate: str | Aggregator = "auto",
    max_tokens: int | None = None,
    overlap_tokens: int | None = None,
    explain: bool = False,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    token_budget: int | str = "auto",
    progress: bool | str = "auto",
    *,
    backend: str = "auto",
    compile: bool = False,
    tokenizer: Any = None,
    hypothesis_template: str = HYPOTHESIS_TEMPLATE,
    deterministic: bool = False,
    **chunk_options: Any,
) -> Predictions:
    """Decide about whole documents of any length.

    Every document is cut into chunks that fit the model, the model reads each, and the chunks' results become one. What is done with
    them depends on the model:

    - a ``LongDocumentModel``, saved or loaded: its own aggregator over the chunks' states, and its head;
    - a sequence-classification checkpoint: the mean of the chunks' logits, weighted by fresh tokens, then softmax (sigmoid for
      multi-label checkpoints, the plain value for regression);
    - an NLI checkpoint with ``labels``: does the chunk entail "This text is about ..."?
    - any other encoder with ``labels``, and the packaged MiniLM for ``model=None``: cosine similarity of chunk and label.

    Args:
        documents: one ``str`` or ``bytes`` (UTF-8), an iterable of them, or an Arrow, pandas or polars column of strings.
        model: folder, hub id, loaded model, ``(model, tokenizer)``, or text-classification pipeline. Safetensors only; code
            from a checkpoint is never run. None: all-MiniLM-L6-v2 from the extra ``longctx[minilm]``. A loaded model is put into eval
            mode and stays on its device in its precision unless ``device`` or ``dtype`` say otherwise.
        labels: names for zero-shot, or ``{name: description}``. Descriptions are used as they are and are worth the effort (below).
        aggregate: how chunk results become one: ``"mean"`` (by fresh tokens), ``"max"`` (each label's strongest chunk), ``"evidence"``
            (chunks that speak for one label count more) or an ``Aggregator``. ``"auto"``: mean for a trained head, else evidence.
        max_tokens: length of a row; None for what the model allows (128 for the packaged MiniLM).
        overlap_tokens: tokens neighbouring chunks share; None for an eighth of ``max_tokens``.
        explain: make each chunk's ``score`` the exact drop of the label's probability when that chunk is left out.
        device: ``"auto"`` is CUDA where there is one.
        dtype: ``"auto"`` is bfloat16 on CUDA from compute capability 8.0; on the CPU it is float32, or bfloat16 where the CPU has it and it
            was measured to be clearly faster; or "float32", "bfloat16", "float16", "int8" (CPU, extra ``longctx[openvino]``).
        token_budget: tokens of one batch, padding included; ``"auto"`` is 1536 on the CPU and 65536 on CUDA. Halved when memory runs out.
        progress: a bar on stderr; ``"auto"`` shows it only on a terminal.
        backend: what computes on the CPU: "torch", "openvino" (extra ``longctx[openvino]``), or ``"auto"``: the fastest of those installed,
            measured once for a machine, a model and a row length, in two seconds, and remembered; ``longctx doctor`` shows it. Loaded
            models are left to torch.
        compile: full batches of full rows go through ``torch.compile``. That costs a wait when the second batch of a shape comes, so it is
            for long runs. Not with ``deterministic``.
        tokenizer: instead of the model's own.
        hypothesis_template: a sentence with ``{}`` for a label without description.
        deterministic: the same bits for a document alone and in any company, at the price of one row at a time. Otherwise float32 results
            agree to about 1e-6, because batches of different shapes add up in another order.
        **chunk_options: ``boundary``, ``tail``, ``select``, ``max_chunks``, ``seed``, ``specials``, ``threads`` as for ``Chunker``.

    Returns:
        One prediction per document, in order. An empty document has one too: the model's view of a row of special tokens, or equal
        probabilities where similarity decides; its coverage says "empty document".

    Raises:
        ConfigError: an option is not allowed.
        ModelLoadError: the checkpoint cannot be found or read.
        ModelError: the model cannot do this, does not fit in memory, or gives NaN.
        MissingDependencyError: ``model=None`` without the extra.
        DocumentTypeError, DocumentError: a document is not text; the message names its index.

    Measured with ``python benches/zero_shot.py`` (packaged MiniLM): right of 100 real documents of about 2,300 words in five genres, by
    the genre's name and by a description of it; and right of 24 neutral texts of that length with one telling passage of six subjects.

    ==========  =====================  ====  ===========  =======
    row length  aggregate              name  description  passage
    ==========  =====================  ====  ===========  =======
    128         evidence (default)       81           99       22
    128         softmax of best x 10     80           99       19
    128         mean                     82           98       10
    128         max                      72           93       17
    256         evidence                 79           99       18
    512         evidence                 82          100       12
    ==========  =====================  ====  ===========  =======

    A few documents more or less are chance, and the default was chosen with these texts in view. What is not: descriptions beat bare names,
    short rows find single passages, and the mean loses them.
    """
    classifier = LongDocumentClassifier.from_pretrained(
        model,
        labels,
        aggregate,
        max_tokens,
        overlap_tokens,
        explain,
        device,
        dtype,
        token_budget,
        progress,
        backend=backend,
        compile=compile,
        tokenizer=tokenizer,
        hypothesis_template=hypothesis_template,
        deterministic=deterministic,
        **chunk_options,
    )
    return classifier(documents)


class LongDocumentClassifier:
    """A model loaded once, for many calls. Made by ``from_pretrained``."""

    def __init__(self, task: Task, *, name: str, explain: bool = False, progress: bool | str = "auto") -> None:
        self._task = task
        self._name = name
        self._explain = explain
        self._progress = progress
        self._last_run: RunStats | None = None

    @classmethod
    def from_pretrained(  # noqa: PLR0917 - as above
        cls,
        model: Any = None,
        labels: Sequence[str] | Mapping[str, str] | None = None,
        aggregate: str | Aggregator = "auto",
        max_tokens: int | None = None,
        overlap_tokens: int | None = None,
        explain: bool = False,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        token_budget: int | str = "auto",
        progress: bool | str = "auto",
        *,
        backend: str = "auto",
        compile: bool = False,
        tokenizer: Any = None,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        deterministic: bool = False,
        **chunk_options: Any,
    ) -> LongDocumentClassifier:
        """Load a model; arguments and errors as for ``chunk_and_classify``."""
        _check_options(chunk_options)
        picked = pick_device(device)
        budget = pick_token_budget(token_budget, picked)
        if deterministic and compile:
            raise ConfigError("compile=True gives rows that are read again other bits than at first; leave it or deterministic= out.")
        request = Request(backend, dtype_name(dtype), compile_tokens=budget if compile else None)
        weights = weights_dtype(request.dtype, picked)
        checkpoint = load_checkpoint(minilm_folder() if model is None else model, tokenizer, dtype=weights)
        if model is None and max_tokens is None:
            max_tokens = MINILM_MAX_TOKENS
        lengths = _row_lengths(checkpoint, max_tokens, overlap_tokens)
        options = {**(checkpoint.decider.config.chunking if checkpoint.decider else {}), **chunk_options}
        make_chunker = chunker_maker(find(checkpoint.tokenizer), **lengths, options=options)
        open_backend = BackendOpener(checkpoint, request, device=_place(checkpoint, device), max_tokens=lengths["max_tokens"])

        @cache  # zero-shot reads labels and documents by the same readout, and the comparison of packed rows takes a while
        def open_packed(readout: Readout) -> PackedBackend | None:
            return None if deterministic else pack_backend(open_backend(readout), checkpoint.max_tokens)

        def make_runner(readout: Readout, finish: Finish | None = None) -> RowRunner:
            packed = open_packed(readout)
            return RowRunner(open_backend(readout), finish, token_budget=budget, packed=packed, deterministic=deterministic)

        if labels is None or checkpoint.kind in TRAINED:
            _check_trained(checkpoint, labels)
            make_trained = long_document_task if checkpoint.kind == "long_document" else trained_task
            task = make_trained(checkpoint, make_chunker, make_runner, aggregate)
        else:
            make_task = entailment_task if checkpoint.kind == "nli" else similarity_task
            task = make_task(checkpoint, read_labels(labels, hypothesis_template), make_chunker, make_runner, aggregate)
        return cls(task, name=checkpoint.name, explain=explain, progress=progress)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of ``predict_proba``'s columns."""
        return self._task.labels

    @property
    def problem(self) -> Problem:
        """What is decided: "single_label", "multi_label" or "regression"."""
        return self._task.problem

    def __call__(self, documents: Any) -> Predictions:
        """One prediction per document, with its evidence."""
        n_documents = 1 if isinstance(documents, (str, bytes)) else _length(documents)
        with document_progress(self._progress, n_documents) as progress:
            predictions = []
            for prediction in self._predictions(documents, progress):
                predictions.append(prediction)
                progress.documents_done(1)
        return Predictions(predictions, run=self.last_run)

    def predict(self, documents: Any) -> list[Label]:
        """Give the label of each document (a list of labels for multi-label problems, a value for regression)."""
        return [prediction.label for prediction in self(documents)]

    def predict_proba(self, documents: Any) -> NDArray[np.float32]:
        """Probabilities float32 ``(n_documents, n_labels)``, columns in the order of ``labels``.

        Raises:
            ModelError: the model is a regression, which has no probabilities.
        """
        if self._task.problem == "regression":
            raise ModelError(f"{self._name} is a regression and has no probabilities; use predict().")
        rows = [list(prediction.probabilities.values()) for prediction in self(documents)]
        return np.asarray(rows, np.float32).reshape(len(rows), len(self.labels))

    def stream(self, documents: Any) -> Iterator[Prediction]:
        """Predictions one by one, in order and in bounded memory, for any iterable of documents.

        Documents are read and cut in a thread of their own, some batches ahead of the model. An error of the source, or of a document in
        it, is raised when the documents before have their predictions. Closing the iterator ends the thread.
        """
        return self._predictions(documents, HIDDEN)

    @property
    def last_run(self) -> RunStats | None:
        """What the latest run did and where its time went; None before the first. A stream is counted when it ends or is closed."""
        return self._last_run

    def _predictions(self, documents: Any, progress: Progress) -> Iterator[Prediction]:
        run = DocumentRun(self._task, documents, progress=progress, explain=self._explain)
        try:
            yield from run
        finally:
            self._last_run = run.stats()

    def __repr__(self) -> str:
        task, chunker = self._task, self._task.chunker
        aggregate = type(task.aggregator).__name__
        what = "1 value" if task.problem == "regression" else f"{len(task.labels)} labels"
        rows = f"rows of {chunker.max_tokens} tokens, overlap {chunker.overlap_tokens}"
        return f"LongDocumentClassifier({self._name!r}, {task.problem}, {what}, {aggregate}, {rows}, on {task.runner.device})"


def _check_options(chunk_options: dict[str, Any]) -> None:
    unknown = sorted(set(chunk_options) - set(CHUNK_OPTIONS))
    if unknown:
        raise ConfigError(f"Unknown option {unknown[0]!r}; the options for chunking are {', '.join(CHUNK_OPTIONS)}.")


def _check_trained(checkpoint: Checkpoint, labels: Any) -> None:
    """Refuse labels for a trained head, which brings its own, and demand them for everything else."""
    if checkpoint.kind in TRAINED and labels is not None:
        own = ", ".join(map(repr, checkpoint.label_names[:5]))
        raise ModelError(
            f"{checkpoint.name} was trained for its own labels ({own}), so labels= cannot be given; leave it out, or use an encoder or "
            "an NLI checkpoint for zero-shot."
        )
    if checkpoint.kind not in TRAINED:
        what = "is an NLI checkpoint" if checkpoint.kind == "nli" else "has no classification head"
        raise ModelError(f"{checkpoint.name} {what}, so it needs labels= to choose from; or give a trained classifier.")


def _row_lengths(checkpoint: Checkpoint, max_tokens: int | None, overlap_tokens: int | None) -> dict[str, int]:
    """Row length and overlap. ``Chunker`` checks them; only the model's own limit is checked here."""
    if checkpoint.decider is not None and max_tokens is None:
        settings = checkpoint.decider.config
        max_tokens, overlap_tokens = settings.max_tokens, settings.overlap_tokens if overlap_tokens is None else overlap_tokens
    longest = checkpoint.max_tokens if max_tokens is None else max_tokens
    if isinstance(longest, int) and longest > checkpoint.max_tokens:
        raise ConfigError(f"max_tokens={longest}: {checkpoint.name} reads at most {checkpoint.max_tokens} tokens; use that or less.")
    overlap = longest // OVERLAP_SHARE if overlap_tokens is None and isinstance(longest, int) else overlap_tokens
    return {"max_tokens": longest, "overlap_tokens": 0 if overlap is None else overlap}


def _place(checkpoint: Checkpoint, device: str | torch.device) -> torch.device:
    """Put the model where it shall run; a model that came loaded stays where it is when "auto" was given."""
    model = checkpoint.model.eval()
    if device != "auto" or not checkpoint.was_loaded:
        model.to(pick_device(device))
    placed: torch.device = next(model.parameters()).device
    return placed


def _length(documents: Any) -> int | None:
    return len(documents) if hasattr(documents, "__len__") else None
