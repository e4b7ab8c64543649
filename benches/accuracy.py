"""How often models are right about whole documents, beside what truncation and words leave: ``python benches/accuracy.py TASK``.

Tasks: ``movie_reviews`` (the authors' ten folds), ``hyperpartisan`` (ten clean folds, copies of an article kept together), ``book_authors``
(unseen books), ``eurlex`` (multi-label), ``eurlex_inverted`` (header and recitals moved to the end), ``eurlex_reversed`` (all paragraphs in
reverse), ``sogou``, and the synthetic ``needle``, ``order`` and ``combination``. The encoder is the packaged MiniLM, frozen unless
``--fine-tune``; its states are kept in ``.bench/states``. Controls learn from the same documents: ``first_row`` is logistic regression on
the state of the first 512 tokens, ``tfidf`` logistic regression on words. With ``--fine-tune``, ``first_row`` is the same encoder,
fine-tuned on these tokens. Results go to ``benches/results/accuracy``. Needs the extras ``minilm`` and ``train``, and the test data
(``../shared/data``) for all but the synthetic tasks.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from transformers import PrinterCallback

from longctx import LongDocumentModel, Trainer
from longctx.learn.controls import linear_control, tfidf_control
from longctx.learn.encoded import EncodedDocuments, encode_documents
from longctx.learn.intervals import intervals, resampled_metrics
from longctx.learn.labelled import encode_labels, infer_problem, label_names, read_labelled
from longctx.learn.metrics import flat_metrics
from longctx.learn.outcome import Outcome
from longctx.learn.recipe import HEAD_LEARNING_RATE, training_arguments
from longctx.learn.state_cache import frozen_documents
from longctx.nn.config import probabilities
from longctx.nn.model import ROW_TOKENS_TOGETHER
from synthetic import make_task

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
STATES = ROOT / ".bench" / "states"
RESULTS = ROOT / "benches" / "results" / "accuracy"
SETTINGS = ("epochs", "learning_rate", "batch", "bf16", "state_dtype", "boundary", "max_train_chunks", "processes")
"""Options that stand in a result."""
NAMED = {"boundary": "token", "documents": 600, "max_train_chunks": None}
"""Those that also stand in the name of its file where they are not these."""
AGGREGATORS = ["mean", "max", "mean_max", "attention", "lstm", "transformer", "label_attention"]
PREAMBLE = re.compile(r"[, (\d)]*(Having regard|Whereas|WHEREAS)")
"""Begins paragraphs that stand between a law's header, its first two lines, and its body."""
NUMBERED = re.compile(r"\s*\(\d+\)")
"""Begins recitals of newer laws, after a line of only ``Whereas:``."""
HEADER_LINES = 2
FIRST_TOKENS = 512
"""What truncation leaves of a document."""
Split = tuple[list[int], list[int]]
"""Numbers of the documents to learn from, and of those that are judged."""


@dataclass(frozen=True)
class Task:
    """Labelled documents and how they are split.

    Attributes:
        texts: all documents.
        labels: a name or a list of names for each.
        splits: folds, or one split.
    """

    texts: list[str]
    labels: list[Any]
    splits: list[Split]


def main() -> None:
    options = _options()
    bench = Bench(TASKS[options.task](options), options)
    folds = range(bench.n_folds) if options.folds is None else options.folds
    for name in options.learners:
        for seed in options.seeds if name in AGGREGATORS else options.seeds[:1]:
            start = time.perf_counter()
            if options.processes == 1:
                outcomes = [_judged(bench, name, fold, seed) for fold in folds]
            else:  # a fold whose steps are short leaves most of a GPU idle
                jobs = [delayed(_judged)(bench, name, fold, seed) for fold in folds]
                outcomes = Parallel(n_jobs=options.processes)(jobs)
            _tell(name, seed, outcomes, options, time.perf_counter() - start)


def _judged(bench: Bench, learner: str, fold: int, seed: int) -> Outcome:
    """Give the outcome of a fold, and tell it on standard error: a fold that learns everything takes many minutes."""
    outcome = bench.outcome(learner, fold, seed)
    accuracy = flat_metrics(outcome).get("accuracy")
    told = "" if accuracy is None else f" accuracy {accuracy:.3f} of {len(outcome.scores)}"
    print(f"{learner} seed {seed}, fold {fold}:{told}", file=sys.stderr, flush=True)
    return outcome


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--learners", nargs="*", default=["first_row", "tfidf", *AGGREGATORS], help="controls and aggregators")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--folds", nargs="*", type=int, help="numbers of folds, from 0; all without it")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--boundary", default="token", help="where rows may end: token, word, sentence or paragraph")
    parser.add_argument("--encoder-layers", type=int)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument(
        "--state-dtype", default="float32", help="what the frozen encoder computes in; auto is faster where there is bfloat16"
    )
    parser.add_argument("--fine-tune", action="store_true", help="the encoder learns too")
    parser.add_argument("--scratch", action="store_true", help="a tiny Chinese encoder that learns from nothing; with --fine-tune")
    parser.add_argument("--bf16", action="store_true", help="fine-tune under autocast")
    parser.add_argument("--max-train-chunks", type=int)
    parser.add_argument("--token-budget", type=int, default=ROW_TOKENS_TOGETHER, help="tokens with a graph at a time; more is faster")
    parser.add_argument("--batch", type=int, help="documents of a step")
    parser.add_argument("--documents", type=int, default=600, help="of a synthetic task; a fifth is judged")
    parser.add_argument(
        "--processes", type=int, default=1, help="folds at a time, each on fewer threads; by joblib, which scikit-learn brings"
    )
    return parser.parse_args()


class Bench:
    """Everything that is the same for all learners of a task."""

    def __init__(self, task: Task, options: argparse.Namespace) -> None:
        self._task = task
        self._options = options
        documents = read_labelled(list(zip(task.texts, task.labels, strict=True)))
        self.problem = infer_problem(documents.labels)
        self.labels = label_names(documents.labels, self.problem)
        self.truth = encode_labels(documents, self.labels, self.problem)
        self._encoded: dict[str, EncodedDocuments] = {}

    @property
    def n_folds(self) -> int:
        """How often the documents are split."""
        return len(self._task.splits)

    def outcome(self, learner: str, fold: int, seed: int) -> Outcome:
        """Ask a learner about the judged documents of a fold."""
        train, test = self._task.splits[fold]
        if learner == "tfidf":
            scores = tfidf_control(
                [self._task.texts[i] for i in train], self.truth[train], [self._task.texts[i] for i in test], **self._control()
            )
        elif learner == "first_row" and self._options.fine_tune:
            scores = self._learned("mean", train, test, seed, first_row=True)
        elif learner == "first_row":
            states = np.concatenate(self._frozen(first_row=True).states or ())
            scores = linear_control(states[train], self.truth[train], states[test], **self._control())
        else:
            scores = self._learned(learner, train, test, seed)
        return Outcome(self.problem, tuple(self.labels), scores, self.truth[test])

    def _control(self) -> dict[str, Any]:
        return {"problem": self.problem, "seed": 0, "n_labels": len(self.labels)}

    def _learned(self, aggregator: str, train: list[int], test: list[int], seed: int, *, first_row: bool = False) -> NDArray[np.float32]:
        options = self._options
        model = self._model(aggregator, seed)
        encoded = self._rows(model, first_row=first_row) if options.fine_tune else self._frozen(first_row=False)
        changes = {"num_train_epochs": options.epochs, "learning_rate": options.learning_rate, "bf16": options.bf16 or None}
        changes["per_device_train_batch_size"] = options.batch
        with tempfile.TemporaryDirectory() as folder:
            arguments = training_arguments(
                folder,
                freeze_encoder=not options.fine_tune,
                aggregator=aggregator,
                n_documents=len(train),
                seed=seed,
                logging_strategy="no",
                use_cpu=not torch.cuda.is_available(),
                train_sampling_strategy="group_by_length" if options.fine_tune else "random",
                **{name: value for name, value in changes.items() if value is not None},
            )
            trainer = Trainer(
                model,
                arguments,
                train=encoded.subset(train),
                freeze_encoder=not options.fine_tune,
                max_train_chunks=options.max_train_chunks,
                token_budget=options.token_budget,
                head_learning_rate=HEAD_LEARNING_RATE if options.fine_tune else None,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            values = trainer.predict(encoded.subset(test)).predictions
        return probabilities(torch.from_numpy(values), self.problem).numpy()

    def _model(self, aggregator: str, seed: int) -> LongDocumentModel:
        settings = {"labels": self.labels, "problem": self.problem, "aggregator": aggregator, "max_tokens": self._options.max_tokens}
        settings["encoder_layers"] = self._options.encoder_layers
        if self._options.boundary != "token":
            settings["boundary"] = self._options.boundary
        if aggregator == "label_attention" and len(self.labels) > 100:
            settings["aggregator_options"] = {"n_layers": 0}  # labels that read each other anew for every document take hours
        if self._options.scratch:
            del settings["encoder_layers"]
        return LongDocumentModel.from_encoder(_new_encoder() if self._options.scratch else "minilm", seed=seed, **settings)

    def _frozen(self, *, first_row: bool) -> EncodedDocuments:
        key = f"frozen {first_row}"
        if key not in self._encoded:
            start = time.perf_counter()
            model = self._model("mean", 0).eval().to("cuda" if torch.cuda.is_available() else "cpu")
            dtype = self._options.state_dtype
            self._encoded[key] = frozen_documents(model, self._task.texts, self._truth(), folder=STATES, first_row=first_row, dtype=dtype)
            print(f"{key}: states in {time.perf_counter() - start:.0f} s", flush=True)
        return self._encoded[key]

    def _rows(self, model: LongDocumentModel, *, first_row: bool) -> EncodedDocuments:
        key = f"rows {first_row}"
        if key not in self._encoded:
            only_first = {"max_tokens": FIRST_TOKENS, "overlap_tokens": 0, "select": "head", "max_chunks": 1} if first_row else {}
            chunker = model.chunker(**only_first)
            self._encoded[key] = encode_documents(self._task.texts, self._truth(), chunker, takes_types=True)
        return self._encoded[key]

    def _truth(self) -> NDArray[Any]:
        return self.truth if self.problem == "single_label" else self.truth.astype(np.float32)


def _new_encoder() -> Any:
    """Make a BERT of two layers that has read nothing yet, with the vocabulary of bert-base-chinese."""
    from transformers import BertConfig, BertModel

    tokenizer = DATA / "tokenizers" / "bert-base-chinese"
    vocabulary = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    return BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)), str(tokenizer)


def _tell(learner: str, seed: int, outcomes: list[Outcome], options: argparse.Namespace, seconds: float) -> None:
    """One line, and one entry in the results: all judged documents together, and the spread over folds."""
    first = outcomes[0]
    pooled = replace(
        first, scores=np.concatenate([each.scores for each in outcomes]), truth=np.concatenate([each.truth for each in outcomes])
    )
    told = intervals(pooled, resampled_metrics(pooled))
    metric = "micro_f1" if first.problem == "multi_label" else "accuracy"
    folds = [flat_metrics(outcome)[metric] for outcome in outcomes]
    numbers = ", ".join(f"{name} {told[name]}" for name in (metric, "macro_f1"))
    spread = f", over folds {np.mean(folds):.3f} +- {np.std(folds, ddof=1):.3f}" if len(folds) > 1 else ""
    print(f"{options.task} {learner} seed {seed}: {numbers}{spread} ({len(pooled.scores)} documents, {seconds:.0f} s)", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    kind = "from-scratch" if options.scratch else "fine-tuned" if options.fine_tune else "frozen"
    entry = {
        "task": options.task,
        "learner": learner,
        "kind": kind,
        "seed": seed,
        "seconds": round(seconds),
        "documents": len(pooled.scores),
    }
    entry |= {name: asdict(interval) for name, interval in told.items()} | {"folds": folds, "max_tokens": options.max_tokens}
    entry["encoder_layers"] = options.encoder_layers
    entry |= {name: getattr(options, name) for name in SETTINGS}
    # Files of unusual settings have them in their names, so that no result takes the place of another.
    unusual = [f"{name}-{getattr(options, name)}" for name in NAMED if getattr(options, name) != NAMED[name]]
    layers = 2 if options.scratch else options.encoder_layers or 6
    path = RESULTS / "-".join([options.task, learner, kind, str(options.max_tokens), str(layers), *unusual, f"{seed}.json"])
    path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")


def _read(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _by_split(rows: list[dict[str, Any]], label: str = "label") -> Task:
    train = [i for i, row in enumerate(rows) if row["split"] != "test"]
    test = [i for i, row in enumerate(rows) if row["split"] == "test"]
    return Task([row["text"] for row in rows], [row[label] for row in rows], [(train, test)])


def _by_fold(rows: list[dict[str, Any]], folds: list[int]) -> list[Split]:
    return [
        ([i for i in range(len(rows)) if folds[i] != fold], [i for i in range(len(rows)) if folds[i] == fold])
        for fold in sorted(set(folds))
    ]


def _movie_reviews(options: argparse.Namespace) -> Task:
    del options
    rows = _read("classification/movie_reviews.jsonl.gz")
    return Task([row["text"] for row in rows], [str(row["label"]) for row in rows], _by_fold(rows, [int(row["fold"]) for row in rows]))


def _hyperpartisan(options: argparse.Namespace) -> Task:
    """Ten folds by class, with articles of equal words in one fold: the split that papers share has articles on both sides."""
    del options
    rows = _read("classification/hyperpartisan.jsonl.gz")
    labels = [str(row["label"]) for row in rows]
    keys = [hashlib.sha256(" ".join(row["text"].split()).encode()).hexdigest() for row in rows]
    fold_of: dict[str, int] = {}
    for label in sorted(set(labels)):
        for number, key in enumerate(sorted({key for key, own in zip(keys, labels, strict=True) if own == label} - set(fold_of))):
            fold_of[key] = number % 10
    return Task([row["text"] for row in rows], labels, _by_fold(rows, [fold_of[key] for key in keys]))


def _book_authors(options: argparse.Namespace) -> Task:
    del options
    return _by_split(_read("classification/book_authors.jsonl.gz"))


def _eurlex(options: argparse.Namespace) -> Task:
    del options
    return _by_split(_read("classification/eurlex57k_7000.jsonl.gz"), "labels")


def _eurlex_inverted(options: argparse.Namespace) -> Task:
    """Header and recitals after the body: what a law says first, title and reasons, is said last (Inverted EURLEX, Park et al. 2022).

    Recitals under headings of their own, which one law in a hundred has, stay in front from the first heading on.
    """
    task = _eurlex(options)
    return replace(task, texts=[_inverted(text) for text in task.texts])


def _inverted(law: str) -> str:
    lines = law.split("\n")
    end = max((i + 1 for i, line in enumerate(lines) if PREAMBLE.match(line)), default=HEADER_LINES)
    while end < len(lines) and NUMBERED.match(lines[end]):
        end += 1
    return "\n".join(lines[end:] + lines[:end])


def _eurlex_reversed(options: argparse.Namespace) -> Task:
    """All paragraphs in reverse order, harder than the above: rows of tables and lists are turned round too."""
    task = _eurlex(options)
    return replace(task, texts=["\n".join(reversed(text.split("\n"))) for text in task.texts])


def _sogou(options: argparse.Namespace) -> Task:
    del options
    return _by_split(_read("chinese/sogou_c.jsonl.gz"))


def _synthetic(options: argparse.Namespace) -> Task:
    documents = list(make_task(options.task, options.documents, seed=0))
    n_train = len(documents) * 4 // 5
    split = list(range(n_train)), list(range(n_train, len(documents)))
    return Task([text for text, _ in documents], [label for _, label in documents], [split])


TASKS: dict[str, Callable[[argparse.Namespace], Task]] = {
    "movie_reviews": _movie_reviews,
    "hyperpartisan": _hyperpartisan,
    "book_authors": _book_authors,
    "eurlex": _eurlex,
    "eurlex_inverted": _eurlex_inverted,
    "eurlex_reversed": _eurlex_reversed,
    "sogou": _sogou,
    "needle": _synthetic,
    "order": _synthetic,
    "combination": _synthetic,
}

if __name__ == "__main__":
    main()
