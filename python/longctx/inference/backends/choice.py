"""Which backend and precision is fastest here: the candidates, a measurement of two seconds, and the decision. No torch needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longctx.errors import ConfigError

SECONDS = 2.0
"""Length of a measurement, beside loading what is measured."""
SAME_ACCURACY_GAIN = 1.05
"""How many times as fast as torch in float32 something must be to be taken instead, when it is as exact: more than noise."""
LESS_ACCURACY_GAIN = 1.15
"""The same for bfloat16, which has to pay for its rounding."""
MIN_ROUNDS = 3
BACKENDS = ("torch", "openvino")


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """A backend and its precision."""

    backend: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.backend} {self.dtype}"


REFERENCE = Choice("torch", "float32")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this machine has.

    Attributes:
        openvino: the extra is installed.
        torch_bf16: the CPU has instructions for bfloat16, and torch uses them.
        openvino_bf16: OpenVINO has bfloat16 kernels for the CPU.
    """

    openvino: bool = False
    torch_bf16: bool = False
    openvino_bf16: bool = False


def candidates(backend: str, dtype: str, abilities: Abilities) -> list[Choice]:
    """List what may be taken on a CPU, the most trusted first; one where there is nothing to choose.

    A dtype that is asked for is tried even where the machine has no instructions for it. int8 is never a candidate unless
    asked for: what its rounding does to a model can be measured by who has labelled documents, and by nobody else.

    >>> [str(choice) for choice in candidates("auto", "auto", Abilities(openvino=True, torch_bf16=True))]
    ['torch float32', 'openvino float32', 'torch bfloat16']

    Raises:
        ConfigError: no backend here has that dtype.
    """
    if backend not in ("auto", *BACKENDS):
        raise ConfigError(f"backend={backend!r} is not known; use 'auto', 'torch' or 'openvino'.")
    if dtype == "int8":
        if backend == "torch":
            raise ConfigError("dtype='int8' is computed by OpenVINO; use backend='auto' or 'openvino', or another dtype with torch.")
        return [Choice("openvino", dtype)]
    if dtype == "float16":
        if backend == "openvino":
            raise ConfigError("dtype='float16' is not for backend='openvino'; use 'float32', 'bfloat16' or 'int8'.")
        return [Choice("torch", dtype)]
    backends = [name for name in BACKENDS if backend == name or (backend == "auto" and (name == "torch" or abilities.openvino))]
    if dtype != "auto":
        return [Choice(name, dtype) for name in backends]
    has_bf16 = {"torch": abilities.torch_bf16, "openvino": abilities.openvino_bf16}
    return [Choice(name, "float32") for name in backends] + [Choice(name, "bfloat16") for name in backends if has_bf16[name]]


def measure(
    runs: Mapping[Choice, Callable[[], Any]], *, seconds: float = SECONDS, clock: Callable[[], float] = time.perf_counter
) -> dict[Choice, float]:
    """Seconds of one run of each, the least of rounds in which they take turns, so that all meet the same other work.

    Every run is first made once unmeasured: it pays for memory and thread pools. At least three rounds, whatever they take.
    """
    for run in runs.values():
        run()
    least = dict.fromkeys(runs, float("inf"))
    start, n_rounds = clock(), 0
    while n_rounds < MIN_ROUNDS or clock() - start < seconds:
        for choice, run in runs.items():
            before = clock()
            run()
            least[choice] = min(least[choice], clock() - before)
        n_rounds += 1
    return least


def fastest(seconds: Mapping[Choice, float]) -> Choice:
    """Pick the fastest, unless its gain over a more trusted one is too small to be worth it.

    >>> str(fastest({Choice("torch", "float32"): 1.0, Choice("torch", "bfloat16"): 0.6}))
    'torch bfloat16'
    >>> str(fastest({Choice("torch", "float32"): 1.0, Choice("torch", "bfloat16"): 0.95}))
    'torch float32'
    """
    trusted = sorted(seconds, key=_trust)
    exact = _best([choice for choice in trusted if choice.dtype == "float32"], seconds, SAME_ACCURACY_GAIN)
    rest = [choice for choice in trusted if choice.dtype != "float32"]
    return _best([*exact, *rest], seconds, LESS_ACCURACY_GAIN)[0]


def _trust(choice: Choice) -> tuple[bool, int]:
    return choice.dtype != "float32", BACKENDS.index(choice.backend)


def _best(ranked: Sequence[Choice], seconds: Mapping[Choice, float], gain: float) -> list[Choice]:
    """Give the first, or the fastest of the others if it is that many times as fast; nothing of nothing."""
    if len(ranked) < 2:  # noqa: PLR2004 - there is nothing to compare
        return list(ranked)
    rival = min(ranked[1:], key=lambda choice: seconds[choice])
    return [rival if seconds[rival] * gain <= seconds[ranked[0]] else ranked[0]]
