"""Which backend is taken on a CPU: what is allowed, what is measured, and that the decision is remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx import ConfigError, LongDocumentClassifier
from longctx.inference.backends import select
from longctx.inference.backends.base import LOGITS, ModelFacts
from longctx.inference.backends.choice import (
    LESS_ACCURACY_GAIN,
    MIN_ROUNDS,
    REFERENCE,
    SAME_ACCURACY_GAIN,
    Abilities,
    Choice,
    candidates,
    fastest,
    measure,
)
from longctx.inference.backends.select import BackendOpener, Request
from longctx.nn.checkpoints import load_checkpoint
from models import DOCUMENTS, MAX_TOKENS, save_checkpoint

EVERYTHING = Abilities(openvino=True, torch_bf16=True, openvino_bf16=True)
TORCH_BF16 = Choice("torch", "bfloat16")
OPENVINO = Choice("openvino", "float32")
Open = Callable[..., BackendOpener]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"), num_labels=3)


@pytest.fixture
def opener(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """An opener with a cache of its own on a machine whose torch has bfloat16, and timings that are told."""
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))
    monkeypatch.setattr(select, "abilities", lambda: Abilities(torch_bf16=True))

    def make(timer: Any, request: Request | None = None, *, max_tokens: int = MAX_TOKENS, model: Any = folder) -> BackendOpener:
        return BackendOpener(load_checkpoint(model), request or Request(), device=torch.device("cpu"), max_tokens=max_tokens, timer=timer)

    return make


def told(**seconds: float) -> Callable[[Any], dict[Choice, float]]:
    """Timings of torch by dtype."""
    return lambda runs: {choice: seconds[choice.dtype] for choice in runs}


def never(runs: Any) -> dict[Choice, float]:
    raise AssertionError(f"measured {list(runs)}")


# What is allowed.


@pytest.mark.parametrize("backend", ["auto", "torch", "openvino"])
def test_int8_is_never_taken_unless_asked_for(backend: str):
    assert all(choice.dtype != "int8" for choice in candidates(backend, "auto", EVERYTHING))
    assert candidates("auto", "int8", Abilities()) == [Choice("openvino", "int8")]


def test_bfloat16_is_a_candidate_only_where_the_cpu_has_it():
    assert candidates("auto", "auto", Abilities()) == [REFERENCE]
    assert candidates("auto", "auto", Abilities(openvino=True)) == [REFERENCE, OPENVINO]
    assert candidates("auto", "auto", Abilities(torch_bf16=True)) == [REFERENCE, TORCH_BF16]


def test_what_is_asked_for_is_taken_whatever_the_machine_has():
    assert candidates("torch", "bfloat16", Abilities()) == [TORCH_BF16]
    assert candidates("openvino", "float32", Abilities()) == [OPENVINO]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tpu"}, "backend='tpu'.*'openvino'"),
        ({"backend": "torch", "dtype": "int8"}, "int8.*OpenVINO"),
        ({"backend": "openvino", "dtype": "float16"}, "float16.*'int8'"),
        ({"dtype": "int4"}, "dtype='int4'.*'int8'"),
        ({"dtype": torch.int32}, "dtype='int32'"),
        ({"backend": "openvino", "compile": True}, "compile=True is for torch"),
    ],
)
def test_backends_and_dtypes_that_exclude_each_other_are_refused(folder: Path, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        LongDocumentClassifier.from_pretrained(folder, device="cpu", **options)


@pytest.mark.parametrize("request_", [Request("openvino"), Request("auto", "int8")])
def test_openvino_is_refused_off_the_cpu(request_: Request):
    with pytest.raises(ConfigError, match="run on the CPU, not on cuda"):
        select._check_off_cpu(request_, torch.device("cuda"))


# What is measured.


seconds_of_each = st.fixed_dictionaries({choice: st.floats(1e-3, 10) for choice in candidates("auto", "auto", EVERYTHING)})


@given(seconds_of_each)
def test_nothing_is_picked_that_was_not_clearly_faster_than_torch_in_float32(seconds: dict[Choice, float]):
    picked = fastest(seconds)
    gain = SAME_ACCURACY_GAIN if picked.dtype == "float32" else LESS_ACCURACY_GAIN
    assert picked == REFERENCE or seconds[picked] * gain <= seconds[REFERENCE] * 1.000001


@given(seconds_of_each, st.floats(1.2, 10))
def test_what_is_far_faster_than_everything_is_picked(seconds: dict[Choice, float], gain: float):
    for choice in seconds:
        rest = min(time for other, time in seconds.items() if other != choice)
        assert fastest({**seconds, choice: rest / gain}) == choice


def test_candidates_take_turns_and_the_least_time_of_each_counts():
    now, order = 0.0, []
    durations = {REFERENCE: iter([9, 3, 2, 4, 2]), TORCH_BF16: iter([9, 5, 1, 7, 6])}

    def run(choice: Choice) -> None:
        nonlocal now
        now += next(durations[choice])
        order.append(choice)

    runs = {choice: lambda choice=choice: run(choice) for choice in durations}
    assert measure(runs, seconds=20, clock=lambda: now) == {REFERENCE: 2, TORCH_BF16: 1}
    assert order == [REFERENCE, TORCH_BF16] * 4  # the first round is the warm-up; 3 + 5 + 2 + 1 + 4 + 7 is past 20


def test_at_least_three_rounds_are_measured_however_slow():
    runs: list[int] = []
    measure({REFERENCE: lambda: runs.append(1)}, seconds=0)
    assert len(runs) == 1 + MIN_ROUNDS


class Watched:
    """A backend that notes which threads computed how many rows; two batches have to be computed at the same time."""

    device = torch.device("cpu")
    name = "watched"
    readout = LOGITS

    def __init__(self, *, can_pad: bool) -> None:
        self.facts = ModelFacts(takes_types=False, takes_mask=True, can_pad=can_pad, n_known_ids=None)
        self.n_parallel = 2
        self.calls: list[tuple[str, int]] = []
        self.both = threading.Barrier(2)

    def run(self, input_ids: torch.Tensor, mask: torch.Tensor | None, token_types: torch.Tensor | None) -> torch.Tensor:
        name = threading.current_thread().name
        self.calls.append((name, len(input_ids)))
        if name.startswith("longctx-compute"):
            self.both.wait(60)
        return input_ids.float()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("can_pad", [True, False])
def test_a_candidate_is_measured_as_runs_use_it_with_batches_side_by_side(opener: Open, monkeypatch: pytest.MonkeyPatch, can_pad: bool):
    watched = Watched(can_pad=can_pad)
    monkeypatch.setattr(BackendOpener, "_trial", lambda *_: watched)
    monkeypatch.setattr(select, "cpu_workers", lambda: 2)
    opener(partial(measure, seconds=0))(LOGITS)
    beside = [call for call in watched.calls if call[0].startswith("longctx-compute")]
    assert len(beside) == 2 * 2 * (1 + MIN_ROUNDS)  # candidates, batches, the warm-up and the rounds
    assert {n_rows for _, n_rows in beside} == {select.MAX_ROWS // 2 if can_pad else 1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("longctx-compute")]


# What is opened.


def test_bfloat16_is_taken_where_it_was_measured_to_be_faster(opener: Open):
    assert opener(told(float32=1.0, bfloat16=0.5))(LOGITS).name == "torch bfloat16"


def test_bfloat16_is_left_where_it_is_slower(opener: Open):
    assert opener(told(float32=1.0, bfloat16=1.3))(LOGITS).name == "torch float32"


def test_a_choice_is_remembered_for_the_machine_the_model_and_the_row_length(
    opener: Open, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fast = told(float32=1.0, bfloat16=0.5)
    opener(fast)(LOGITS)
    assert opener(never)(LOGITS).name == "torch bfloat16"
    (found,) = select.measured_choices()
    assert (found["backend"], found["dtype"], found["max_tokens"]) == ("torch", "bfloat16", MAX_TOKENS)
    with pytest.raises(AssertionError, match="measured"):
        opener(never, max_tokens=MAX_TOKENS - 1)(LOGITS)
    other = save_checkpoint(tmp_path / "other", num_labels=2)
    with pytest.raises(AssertionError, match="measured"):
        opener(never, model=other)(LOGITS)
    monkeypatch.setattr(select, "machine", lambda: "another machine")
    assert select.measured_choices() == []
    with pytest.raises(AssertionError, match="measured"):
        opener(never)(LOGITS)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"backend": "torch", "dtype": "int8"}'])
def test_a_broken_note_of_a_choice_is_measured_again(opener: Open, content: str):
    opener(told(float32=1.0, bfloat16=0.5))(LOGITS)
    (path,) = select.choices_folder().iterdir()
    path.write_text(content)
    assert opener(told(float32=1.0, bfloat16=2.0))(LOGITS).name == "torch float32"
    assert opener(never)(LOGITS).name == "torch float32"


def test_nothing_is_measured_where_there_is_nothing_to_choose(opener: Open, monkeypatch: pytest.MonkeyPatch):
    assert opener(never, Request(dtype="bfloat16"))(LOGITS).name == "torch bfloat16"
    monkeypatch.setattr(select, "abilities", Abilities)
    assert opener(never)(LOGITS).name == "torch float32"


def test_a_loaded_model_is_left_to_torch_as_it_is(opener: Open, folder: Path):
    checkpoint = load_checkpoint(folder)
    loaded = (checkpoint.model.bfloat16(), checkpoint.tokenizer)
    assert opener(never, model=loaded)(LOGITS).name == "torch bfloat16"


def test_a_compiled_model_is_torch_and_not_measured(opener: Open):
    assert opener(never, Request(compile_tokens=2048))(LOGITS).name == "torch float32"


def test_a_readout_is_opened_once(opener: Open):
    made = opener(told(float32=1.0, bfloat16=0.5))
    assert made(LOGITS) is made(LOGITS)


def test_a_real_measurement_ends_and_gives_results(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))
    monkeypatch.setattr(select, "abilities", lambda: Abilities(torch_bf16=True))
    monkeypatch.setattr(select, "measure", partial(measure, seconds=0.05))
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    assert len(classifier(DOCUMENTS)) == len(DOCUMENTS)
    assert len(select.measured_choices()) == 1
