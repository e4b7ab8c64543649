"""OpenVINO, the extra ``longctx[openvino]``: one compiled graph of the model for any number and length of rows, on the CPU."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from longctx.errors import MissingDependencyError
from longctx.inference.backends.base import ModelFacts, Readout
from longctx.inference.workers import cpu_workers

Precision = Literal["float32", "bfloat16", "int8"]
CPU = torch.device("cpu")


def has_openvino() -> bool:
    """Say whether the extra is installed."""
    return importlib.util.find_spec("openvino") is not None and importlib.util.find_spec("nncf") is not None


def import_openvino() -> Any:
    """Give the module ``openvino``.

    Raises:
        MissingDependencyError: the extra is not installed.
    """
    if not has_openvino():
        raise MissingDependencyError("backend='openvino' and dtype='int8' need OpenVINO; run `pip install longctx[openvino]`.")
    with without_telemetry():
        import openvino
    # OpenVINO's bindings prepare themselves when a tensor's data is first asked for; two threads that do so at once wait for each other
    # for ever: one has the interpreter's lock, the other the lock of what is prepared (seen in 2026.4).
    _ = openvino.Tensor(np.zeros(1, np.int64)).data
    return openvino


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Modules imported inside find no ``openvino_telemetry`` and use their own stand-ins for it.

    By default they report each import and conversion over the network; a program that reads other people's documents must not.
    """
    name = "openvino_telemetry"
    had, before = name in sys.modules, sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a module that cannot be imported
    try:
        yield
    finally:
        if had and before is not None:
            sys.modules[name] = before
        else:
            del sys.modules[name]


def has_fast_bf16() -> bool:
    """OpenVINO has bfloat16 kernels for this CPU."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend:
    """Runs an exported model.

    Args:
        exported: ``openvino.Model`` with inputs int64 ``(n_rows, width)`` for ids, then mask, then token types, as far as
            the model takes them, and one output float ``(n_rows, d)``.
        facts: what the model takes.
        readout: what a row is worth.
        precision: "bfloat16" computes in it; "int8" says that ``exported`` is quantized.
    """

    device = CPU

    def __init__(self, exported: Any, facts: ModelFacts, readout: Readout, *, precision: Precision) -> None:
        openvino = import_openvino()
        self.facts = facts
        self.readout = readout
        self.name = f"openvino {precision}"
        # What is not quantized in an int8 model may run in bfloat16: int8 has given up more accuracy than that.
        is_half = precision == "bfloat16" or (precision == "int8" and has_fast_bf16())
        self.n_parallel = cpu_workers()
        self._n_threads = torch.get_num_threads()
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if is_half else "f32",  # left alone, OpenVINO takes bf16 where it can
            "INFERENCE_NUM_THREADS": self._n_threads,
        }
        self._core = openvino.Core()
        self._exported = exported
        self._compiled: dict[bool, Any] = {}
        self._compiling = threading.Lock()
        self._idle: dict[bool, deque[Any]] = {False: deque(), True: deque()}

    def run(self, input_ids: Tensor, mask: Tensor | None, token_types: Tensor | None) -> Tensor:
        """As the interface says."""
        inputs = [input_ids.long().numpy()]
        if self.facts.takes_mask:
            inputs.append((torch.ones_like(input_ids) if mask is None else mask).long().numpy())
        if self.facts.takes_types:
            inputs.append((torch.zeros_like(input_ids) if token_types is None else token_types).long().numpy())
        is_alone = torch.get_num_threads() >= self._n_threads
        idle = self._idle[is_alone]
        # One request for each call at a time: OpenVINO's shorthand shares one, in which threads would meet. They are used again, because
        # each has memory of its own for what is between the layers.
        request = idle.pop() if idle else self._compile(is_alone=is_alone).create_infer_request()
        values = torch.from_numpy(request.infer(inputs)[0].copy())
        idle.append(request)
        return values

    def _compile(self, *, is_alone: bool) -> Any:
        """Give the model on all threads, or as one that computes ``n_parallel`` batches at a time, each on its share of them.

        Both, because batches at a time are read faster, and a row alone is not: in bfloat16, MiniLM took 93 ms for one of 512 tokens
        on half of the threads, 68 on all. Each has weights of its own (70 to 100 MB for MiniLM), so it is made when it is first needed.
        """
        hint = {"PERFORMANCE_HINT": "LATENCY"} if is_alone else {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self.n_parallel}
        with self._compiling:
            if is_alone not in self._compiled:
                self._compiled[is_alone] = self._core.compile_model(self._exported, "CPU", self._settings | hint)
            return self._compiled[is_alone]
