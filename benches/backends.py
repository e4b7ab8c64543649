"""What each backend and precision gains on this CPU, and how often it changes a label: ``python benches/backends.py``.

The packaged MiniLM with a head for real classes: logistic regression on its frozen states, saved as a sequence-classification checkpoint.
Paths take turns in every round, in one process, and are compared with torch in float32 as transformers computes its layers, once read by
longctx and once with the layers that it puts in their place. Needs the extras ``minilm`` and ``openvino``,
scikit-learn and the test data (``../shared/data``). Paths in bfloat16 are timed only where the CPU has it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from longctx import Chunker, LongDocumentClassifier
from longctx.inference.backends import select
from longctx.inference.backends.select import abilities, machine
from longctx.nn.embedding import minilm_folder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "classification"
FILES = {"laws": "eurlex57k_7000.jsonl.gz", "reviews": "movie_reviews.jsonl.gz"}
N_TRAIN = 400
KEPT = Path(__file__).resolve().parents[1] / ".bench" / "backends"
"""Trained checkpoints and what they gave, used again; remove the folder to begin anew."""
RECIPE = 1
"""Counts changes of how a path computes, after which what was kept is made anew."""
SLICE = 50
"""Documents whose results are kept together; a number of documents has to be a multiple of it."""
REFERENCE = ("torch", "float32")
PLAIN = ("transformers", "float32")
"""As ``REFERENCE``, with all layers as transformers has them."""
PathName = tuple[str, str]
"""Backend and dtype."""


def read(name: str, *, max_words: int) -> tuple[list[str], list[str]]:
    """Whole documents of at most that many words, shuffled, with their labels."""
    with gzip.open(DATA / FILES[name], "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    short = [document for document in documents if len(document["text"].split()) <= max_words]
    random.Random(1).shuffle(short)
    return [document["text"] for document in short], [str(document["label"]) for document in short]


def save_classifier(folder: Path, texts: list[str], labels: list[str], max_tokens: int) -> None:
    """Write MiniLM with a head trained on the states of the texts' rows."""
    encoder, names = minilm_folder(), sorted(set(labels))
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    # With the identity for a head, the "logits" of a row are the states that the head is to be trained on.
    model = BertForSequenceClassification.from_pretrained(encoder, num_labels=384).eval()
    with torch.no_grad():
        model.classifier.weight.copy_(torch.eye(384))
        model.classifier.bias.zero_()
    batch = Chunker(tokenizer, max_tokens=max_tokens, overlap_tokens=0)(texts)
    classifier = LongDocumentClassifier.from_pretrained(
        (model, tokenizer), max_tokens=max_tokens, overlap_tokens=0, backend="openvino", dtype="float32"
    )
    states = classifier._task.runner.run(batch)
    owners = np.array([names.index(label) for label in labels])[batch.document_index]
    scaler = StandardScaler().fit(states)
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(scaler.transform(states), owners)
    weights, bias = fitted.coef_ / scaler.scale_, fitted.intercept_
    if len(names) == 2:
        weights, bias = np.vstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    config = {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    trained = BertForSequenceClassification.from_pretrained(encoder, **config)
    with torch.no_grad():
        trained.classifier.weight.copy_(torch.from_numpy(weights))
        trained.classifier.bias.copy_(torch.from_numpy(bias - weights @ scaler.mean_))
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def paths(*, with_slow_bf16: bool) -> list[PathName]:
    """List what this machine can do; torch in float32 first."""
    has = abilities()
    found: list[PathName] = [REFERENCE, ("openvino", "float32"), ("openvino", "int8")]
    if has.torch_bf16 or with_slow_bf16:
        found.append(("torch", "bfloat16"))
    if has.openvino_bf16:
        found.append(("openvino", "bfloat16"))
    return found


def agreement(folder: Path, texts: list[str], labels: list[str], options: argparse.Namespace) -> None:
    """Print how often each path gives the label that the first gives."""
    expected: NDArray[np.float32] | None = None
    for path in options.paths or (PLAIN, *paths(with_slow_bf16=options.slow_bf16)):
        probabilities, names = kept_probabilities(folder, texts, path, options)
        expected = probabilities if expected is None else expected
        chosen, told = probabilities.argmax(1), expected.argmax(1)
        right = np.mean([names[i] == label for i, label in zip(chosen, labels, strict=True)])
        difference = np.abs(probabilities - expected)
        print(
            f"| {' '.join(path)} | {np.mean(chosen == told):.2%} | {right:.2%} | {difference.max():.4f} | {difference.mean():.5f} |",
            flush=True,
        )


def kept_probabilities(
    folder: Path, texts: list[str], path: PathName, options: argparse.Namespace
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Float32 ``(n_documents, n_labels)`` and the labels; kept beside the checkpoint, so that a run can be cut short."""
    classifier = open_classifier(folder, path, max_tokens=options.max_tokens)
    slices = []
    for start in range(0, len(texts), SLICE):
        file = folder / f"{'-'.join(path)}-{RECIPE}-{options.max_words}-{start}.npy"
        if not file.is_file():
            np.save(file, classifier.predict_proba(texts[start : start + SLICE]))
        slices.append(np.load(file))
    return np.concatenate(slices), classifier.labels


def open_classifier(folder: Path, path: PathName, **options: Any) -> LongDocumentClassifier:
    """Give the trained checkpoint on one path."""
    backend, dtype = path
    options |= {"dtype": dtype, "progress": False}
    if backend != "transformers":
        return LongDocumentClassifier.from_pretrained(folder, backend=backend, **options)
    with mock.patch.multiple(select, first_token_model=lambda model, readout: model, fused_model=lambda model: model):
        classifier = LongDocumentClassifier.from_pretrained(folder, backend="torch", **options)
        classifier("A backend is opened for the first document.")
    return classifier


def take_turns(runs: Mapping[PathName, Callable[[], Any]], n_rounds: int) -> None:
    """Print the ratios to both in torch, the median over rounds with the least and the largest."""
    for run in runs.values():
        run()
    seconds: dict[PathName, list[float]] = {path: [] for path in runs}
    for round_number in range(n_rounds):
        order = list(runs)
        for path in order[round_number % len(order) :] + order[: round_number % len(order)]:
            start = time.perf_counter()
            runs[path]()
            seconds[path].append(time.perf_counter() - start)
    print(f"| path | to {' '.join(PLAIN)} | to {' '.join(REFERENCE)} | fastest |")
    for path, taken in seconds.items():
        ratios = [[first / own for first, own in zip(seconds[to], taken, strict=True)] for to in (PLAIN, REFERENCE)]
        told = " | ".join(f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})" for each in ratios)
        print(f"| {' '.join(path)} | {told} | {min(taken):.2f} s |", flush=True)


def speed(folder: Path, texts: list[str], n_rounds: int) -> None:
    """Print ratios end to end, and of ready-made full rows."""
    classifiers = {path: open_classifier(folder, path) for path in (PLAIN, *paths(with_slow_bf16=False))}
    print(f"\nend to end, {len(texts)} documents, rows of 512:")
    take_turns({path: partial(classifier, texts) for path, classifier in classifiers.items()}, n_rounds)
    for n_rows, width in ((8, 512), (1, 512), (8, 128)):
        ids = torch.randint(1000, 20000, (n_rows, width), generator=torch.Generator().manual_seed(1))
        types = torch.zeros_like(ids)
        print(f"\nmodel alone, {n_rows} full rows of {width}:")
        backends = {path: classifier._task.runner.backend for path, classifier in classifiers.items()}
        take_turns({path: partial(backend.run, ids, None, types) for path, backend in backends.items()}, n_rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["speed", "agreement", "all"], default="all")
    parser.add_argument("--texts", choices=sorted(FILES), default="laws")
    parser.add_argument("--max-words", type=int, default=400, help="longest document of the agreement")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--paths", nargs="*", type=lambda path: tuple(path.split(":")), help="agreement of these, like openvino:int8")
    parser.add_argument("--slow-bf16", action="store_true", help="agreement in bfloat16 too where the CPU has none: many times slower")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    print(machine(), flush=True)
    texts, labels = read(options.texts, max_words=options.max_words)
    folder = KEPT / f"{options.texts}-{options.max_tokens}"
    if not (folder / "config.json").is_file():
        save_classifier(folder, texts[:N_TRAIN], labels[:N_TRAIN], options.max_tokens)
    if options.part != "speed":
        test = slice(N_TRAIN, N_TRAIN + options.documents)
        print(f"\n{len(texts[test])} documents of at most {options.max_words} words: {options.texts}")
        print("| path | same label as the first | right | largest difference of a probability | mean |", flush=True)
        agreement(folder, texts[test], labels[test], options)
    if options.part != "agreement":
        longer, _ = read(options.texts, max_words=3000)
        speed(folder, longer[:8], options.rounds)


if __name__ == "__main__":
    main()
