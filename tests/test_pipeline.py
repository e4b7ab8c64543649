"""Reading ahead, sharing between long and short documents, and what is left when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longctx
from longctx import LongDocumentClassifier
from longctx.inference.meter import Meter
from longctx.inference.reading import AHEAD_DOCUMENTS, BackgroundReader, FairSlices
from models import DOCUMENTS, MAX_TOKENS, save_checkpoint, wrap_forward

SECONDS = 120
"""No test waits longer for a thread or a process: what hangs, fails."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.fixture
def classifier(folder: Path) -> LongDocumentClassifier:
    return LongDocumentClassifier.from_pretrained(folder, device="cpu", token_budget=4 * MAX_TOKENS)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("longctx")] == []


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "longctx-reader"]


def probabilities(predictions: Any) -> np.ndarray:
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def test_results_keep_the_order_of_the_source_around_a_giant(classifier: LongDocumentClassifier):
    documents = [*DOCUMENTS, DOCUMENTS[0] * 300, *DOCUMENTS * 3, DOCUMENTS[2] * 100, "the end"]
    together = list(classifier.stream(iter(documents)))
    assert [p.coverage.tokens for p in together] == [classifier(document)[0].coverage.tokens for document in documents]
    alone = np.concatenate([classifier.predict_proba(document) for document in documents])
    np.testing.assert_allclose(probabilities(together), alone, atol=1e-5)
    giant = together[len(DOCUMENTS)]
    assert [chunk.text for chunk in giant.chunks] == [documents[5][slice(*chunk.char_span)] for chunk in giant.chunks]
    assert giant.coverage.complete


def slices(folder: Path, documents: Any, max_rows: int = 8) -> Iterator[longctx.ChunkBatch]:
    chunker = longctx.Chunker(str(folder), max_tokens=MAX_TOKENS, overlap_tokens=4, dtype="int32")
    return iter(FairSlices(chunker, documents, max_rows=max_rows, meter=Meter()))


def test_short_documents_behind_a_giant_take_turns_with_it(folder: Path):
    order = [sorted(set(batch.document_index.tolist())) for batch in slices(folder, [DOCUMENTS[0] * 400, *["short"] * 40])]
    first_short = next(i for i, numbers in enumerate(order) if 0 not in numbers or len(numbers) > 1)
    assert first_short <= 2
    giant_ends = max(i for i, numbers in enumerate(order) if 0 in numbers)
    assert max(i for i, numbers in enumerate(order) if max(numbers) > 0) < giant_ends


def test_short_documents_run_only_so_far_ahead_of_a_giant(folder: Path):
    n_read = 0

    def source() -> Iterator[str]:
        nonlocal n_read
        yield DOCUMENTS[0] * 40_000
        while True:
            n_read += 1
            yield "short"

    stream = slices(folder, source(), max_rows=64)
    for _ in range(3 * AHEAD_DOCUMENTS // 64):
        next(stream)
    assert AHEAD_DOCUMENTS <= n_read <= AHEAD_DOCUMENTS + 64


def test_slices_hold_every_row_once_whatever_the_lengths(folder: Path):
    rng = np.random.default_rng(0)
    documents = [DOCUMENTS[i % 5] * int(2 ** rng.uniform(0, 9)) for i in range(60)]
    chunker = longctx.Chunker(str(folder), max_tokens=MAX_TOKENS, overlap_tokens=4, dtype="int32")
    expected = chunker(documents)
    got = list(slices(folder, documents))
    assert sum(batch.n_rows for batch in got) == expected.n_rows
    index = np.concatenate([batch.document_index for batch in got])
    spans = np.concatenate([batch.token_spans for batch in got])
    order = np.lexsort((spans[:, 0], index))
    np.testing.assert_array_equal(index[order], expected.document_index)
    np.testing.assert_array_equal(spans[order], expected.token_spans)


def until_it_fails(predictions: Iterator[Any], got: list[Any]) -> None:
    for prediction in predictions:
        got.append(prediction)  # one by one: extend would lose them with the error


def test_an_error_of_the_source_comes_after_the_results_of_what_was_read(classifier: LongDocumentClassifier):
    def source() -> Iterator[str]:
        yield from DOCUMENTS
        raise OSError("the disk is gone")

    got: list[Any] = []
    with pytest.raises(OSError, match="the disk is gone"):
        until_it_fails(classifier.stream(source()), got)
    np.testing.assert_allclose(probabilities(got), classifier.predict_proba(DOCUMENTS), atol=1e-5)


@pytest.mark.parametrize(("broken", "error"), [(b"\xff\xfe", longctx.DocumentError), (3, longctx.DocumentTypeError)])
@pytest.mark.parametrize("n_before", [0, 1, 5, 40])
def test_a_broken_document_is_named_after_the_results_of_those_before_it(
    classifier: LongDocumentClassifier, broken: object, error: type[Exception], n_before: int
):
    documents: list[Any] = [*(DOCUMENTS * 8)[:n_before], broken, "never read"]
    got: list[Any] = []
    with pytest.raises(error, match=f"document {n_before}"):
        until_it_fails(classifier.stream(documents), got)
    assert len(got) == n_before


def test_a_source_that_repeats_itself_for_ever_gets_results(classifier: LongDocumentClassifier):
    """All its rows are equal to rows that wait already, so no batch would ever be full."""
    stream = classifier.stream(iter(lambda: "short", None))
    assert len({next(stream).score for _ in range(300)}) == 1
    stream.close()


def test_closing_a_stream_early_ends_its_thread(classifier: LongDocumentClassifier):
    def source() -> Iterator[str]:
        while True:
            yield from DOCUMENTS

    stream = classifier.stream(source())
    for _ in range(7):
        next(stream)
    assert len(readers()) == 1
    stream.close()
    assert readers() == []
    assert classifier.last_run is not None
    assert classifier.last_run.documents >= 7


def test_an_error_of_the_model_ends_the_thread(classifier: LongDocumentClassifier):
    def fail(_: Callable[..., Any]) -> Callable[..., Any]:
        def forward(**inputs: Any) -> Any:
            raise RuntimeError("the model is broken")

        return forward

    wrap_forward(classifier, fail)
    with pytest.raises(RuntimeError, match="the model is broken"):
        list(classifier.stream(DOCUMENTS * 100))


def test_memory_that_ends_at_random_loses_and_repeats_nothing(folder: Path):
    draws = iter([0.0, *np.random.default_rng(1).random(1000)])

    def flaky(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(**inputs: Any) -> Any:
            if len(inputs.get("row_lengths", inputs["input_ids"])) > 1 and next(draws) < 0.1:
                raise torch.OutOfMemoryError
            return forward(**inputs)

        return call

    documents = [DOCUMENTS[0] * 60, *(f"{i} {document}" for i, document in enumerate(DOCUMENTS * 20))]
    expected = LongDocumentClassifier.from_pretrained(folder, device="cpu").predict_proba(documents)
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu", token_budget=64 * MAX_TOKENS)
    wrap_forward(classifier, flaky)
    np.testing.assert_allclose(probabilities(classifier.stream(documents)), expected, atol=1e-5)
    assert classifier._task.runner.token_budget < 64 * MAX_TOKENS


def test_a_slow_source_gets_its_results_before_it_goes_on(classifier: LongDocumentClassifier):
    """What was read is run when nothing more comes for a moment, though it fills no batch."""
    classifier(DOCUMENTS)
    started = threading.Event()

    def source() -> Iterator[str]:
        yield from DOCUMENTS * 40
        assert started.wait(SECONDS)

    stream = classifier.stream(source())
    next(stream)
    started.set()
    assert len(list(stream)) == 40 * len(DOCUMENTS) - 1


def test_the_reader_runs_only_so_far_ahead():
    n_made = 0

    def items() -> Iterator[int]:
        nonlocal n_made
        while True:
            n_made += 1
            yield n_made

    reader = BackgroundReader(items(), most_waiting=3)
    try:
        assert reader.take() == 1
        time.sleep(0.2)
        assert n_made <= 5
        assert [reader.take() for _ in range(4)] == [2, 3, 4, 5]
    finally:
        reader.close()


def test_items_before_an_error_are_not_lost():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    reader = BackgroundReader(items(), most_waiting=1)
    assert [reader.take(), reader.take(), reader.take()] == [1, 2, None]
    with pytest.raises(ValueError, match="three"):
        reader.check()
    reader.close()


PROGRAM = """
    import sys, threading, time
    from longctx import LongDocumentClassifier
    classifier = LongDocumentClassifier.from_pretrained({folder!r}, device="cpu")

    def source():
        for _ in range({n_quick}):
            yield "The quick brown fox. " * 50
        print("ready", flush=True)
        {then}

    try:
        for prediction in classifier.stream(source()):
            pass
    except KeyboardInterrupt:
        left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        print("interrupted", left, flush=True)
        sys.exit(130)
"""
NEVER_ENDS = 'yield from iter(lambda: "The quick brown fox. " * 50, None)'
ALWAYS_NEW = 'yield from (f"The quick brown fox {i}. " * 50 for i in range(10**9))'


def run_until_ready(folder: Path, then: str, n_quick: int = 3) -> subprocess.Popen[str]:
    program = textwrap.dedent(PROGRAM.format(folder=str(folder), then=then, n_quick=n_quick))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("then", "left"), [(NEVER_ENDS, "[]"), (ALWAYS_NEW, "[]"), ("time.sleep(1000)", "['longctx-reader']")])
def test_an_interrupt_ends_the_program(folder: Path, then: str, left: str):
    """A source that does not return cannot be stopped; its thread must not keep the program alive."""
    process = run_until_ready(folder, then)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, f"interrupted {left}\n")


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("then", [NEVER_ENDS, ALWAYS_NEW, "time.sleep(1000)"])
def test_a_program_ends_with_a_stream_that_was_left_in_the_middle(folder: Path, then: str):
    program = textwrap.dedent(PROGRAM.format(folder=str(folder), then=then, n_quick=3000)).replace("        pass\n", "        break\n")
    program = program.replace("for prediction in classifier.stream(source())", "for prediction in (kept := classifier.stream(source()))")
    done = subprocess.run([sys.executable, "-c", program], timeout=SECONDS, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Exception" not in done.stderr
