"""Opens the backend for a checkpoint: what was asked for, or on the CPU the fastest that was measured here, which is remembered."""

from __future__ import annotations

import copy
import logging
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from longctx.errors import ConfigError, ModelError
from longctx.inference.backends.base import Backend, Readout
from longctx.inference.backends.cache import cache_folder, fingerprint, model_fingerprint, read_json, write_json
from longctx.inference.backends.choice import Abilities, Choice, candidates, fastest, measure
from longctx.inference.backends.first_token import first_token_model
from longctx.inference.backends.fused import fused_model
from longctx.inference.backends.openvino_backend import has_fast_bf16, has_openvino
from longctx.inference.backends.torch_backend import TorchBackend
from longctx.inference.device import DTYPES
from longctx.inference.workers import Workers, cpu_workers
from longctx.nn.checkpoints import Checkpoint

logger = logging.getLogger(__name__)

Runs = Mapping[Choice, Callable[[], Any]]
Timer = Callable[[Runs], dict[Choice, float]]
RECIPE = 1
"""Counts changes of how a path computes: what was measured before may be another choice now."""
MAX_ROWS = 8
"""Rows of a measurement: more leave a CPU's cache, and all candidates lose alike."""
SECONDS_PER_RUN = 0.15
"""About how long its rows may take in torch, so that two seconds see several rounds."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for; see ``chunk_and_classify``. ``compile_tokens`` is the token budget where ``compile=True``, else None."""

    backend: str = "auto"
    dtype: str = "auto"
    compile_tokens: int | None = None


class BackendOpener:
    """Opens backends for one checkpoint; each readout once, however often it is asked for.

    Args:
        checkpoint: on its device, in float32 where the choice is still open.
        request: what the user asked for.
        device: where the model is.
        max_tokens: length of the rows that will come; what is fastest depends on it.
        timer: measures candidates; tests give timings of their own.
    """

    def __init__(
        self, checkpoint: Checkpoint, request: Request, *, device: torch.device, max_tokens: int, timer: Timer | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._request = request
        self._device = device
        self._max_tokens = max_tokens
        self._timer = timer or measure
        self._weights: str | None = None
        self._open: dict[Readout, Backend] = {}

    def __call__(self, readout: Readout) -> Backend:
        """Open the backend for this readout.

        Raises:
            ConfigError: the options exclude each other or this device.
            MissingDependencyError: OpenVINO was asked for and is not installed.
            ModelError: it cannot express the model.
        """
        if readout not in self._open:
            self._open[readout] = self._pick(readout)
        return self._open[readout]

    def _pick(self, readout: Readout) -> Backend:
        request = self._request
        if self._device.type != "cpu":
            _check_off_cpu(request, self._device)
            if self._checkpoint.was_loaded and request.dtype != "auto":
                self._checkpoint.model.to(DTYPES[request.dtype])
            return self._torch(readout)
        options = candidates(request.backend, request.dtype, abilities())
        is_settled = self._checkpoint.was_loaded and request.backend == "auto" and request.dtype != "int8"
        # A row's token states are more than its tokens: writing them takes longer than another backend would save.
        if is_settled or (request.backend == "auto" and (request.compile_tokens or readout.kind == "tokens")):
            options = [choice for choice in options if choice.backend == "torch"][:1]
        if request.compile_tokens and options[0].backend != "torch":
            raise ConfigError("compile=True is for torch; leave it out, or use backend='torch' without dtype='int8'.")
        if readout.kind == "tokens" and options[0].backend != "torch":
            raise ConfigError("a model of states='tokens' is read by torch; leave backend= out, and use dtype='float32' or 'bfloat16'.")
        if len(options) == 1:
            return self._open_one(options[0], readout)
        return self._fastest(options, readout)

    def _torch(self, readout: Readout) -> TorchBackend:
        model, compile_tokens = first_token_model(self._checkpoint.model, readout), self._request.compile_tokens
        if compile_tokens is None:
            model = fused_model(model)
        return TorchBackend(model, readout, device=self._device, compile_tokens=compile_tokens)

    def _open_one(self, choice: Choice, readout: Readout) -> Backend:
        if choice.backend == "torch":
            if not self._checkpoint.was_loaded or self._request.dtype != "auto":
                self._checkpoint.model.to(DTYPES[choice.dtype])
            return self._torch(readout)
        return self._openvino(choice, readout)

    def _openvino(self, choice: Choice, readout: Readout) -> Backend:
        from longctx.inference.backends.export import open_openvino

        checkpoint = self._checkpoint
        if any(parameter.dtype != torch.float32 for parameter in checkpoint.model.parameters()):
            checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model).float())
        self._weights = self._weights or model_fingerprint(checkpoint.model)
        checkpoint = replace(checkpoint, model=first_token_model(checkpoint.model, readout))
        return open_openvino(checkpoint, readout, choice.dtype, weights=self._weights)  # type: ignore[arg-type]  # a Precision, by candidates()

    def _fastest(self, options: list[Choice], readout: Readout) -> Backend:
        self._weights = self._weights or model_fingerprint(self._checkpoint.model)
        told = (readout.kind, readout.pooling, self._max_tokens, list(map(str, options)))
        key = fingerprint(RECIPE, machine(), cpu_workers(), self._weights, *told)
        path = choices_folder() / f"{key}.json"
        remembered = _remembered(path, options)
        if remembered is not None:
            return self._open_one(remembered, readout)
        opened = self._openable(options, readout)
        if len(opened) == 1:
            return self._open_one(next(iter(opened)), readout)
        rows = self._sample(next(iter(opened.values())))
        with closing(Workers(cpu_workers())) as workers:
            seconds = self._timer({choice: partial(_run_parallel, backend, rows, workers) for choice, backend in opened.items()})
        choice = fastest(seconds)
        logger.info("of %s, %s is the fastest here for %s", ", ".join(map(str, seconds)), choice, self._checkpoint.name)
        rates = {str(option): round(rows.numel() / least) if least > 0 else 0 for option, least in seconds.items()}
        measured = {"model": self._checkpoint.name, "max_tokens": self._max_tokens, "tokens_per_second": rates, "rows": len(rows)}
        write_json(path, {"backend": choice.backend, "dtype": choice.dtype, "machine": machine(), **measured})
        return opened[choice] if choice.backend == "openvino" else self._open_one(choice, readout)

    def _openable(self, options: list[Choice], readout: Readout) -> dict[Choice, Backend]:
        """Leave out what cannot run this model; torch always can. Where nothing is left, the reason of the last is the error."""
        opened: dict[Choice, Backend] = {}
        for choice in options:
            try:
                opened[choice] = self._trial(choice, readout)
            except ModelError as error:
                logger.info("%s is left out: %s", choice, error)
                if choice == options[-1] and not opened:
                    raise
        return opened

    def _trial(self, choice: Choice, readout: Readout) -> Backend:
        if choice.backend == "openvino":
            return self._openvino(choice, readout)
        model = self._checkpoint.model
        if choice.dtype != "float32":
            model = copy.deepcopy(model).to(DTYPES[choice.dtype])
        return TorchBackend(fused_model(first_token_model(model, readout)), readout, device=self._device)

    def _sample(self, backend: Backend) -> torch.Tensor:
        """Ids int64 ``(n_rows, max_tokens)``: as many as ``SECONDS_PER_RUN`` allows, by one through ``backend``, and one for each batch."""
        n_ids = backend.facts.n_known_ids or 1000
        rows = torch.randint(n_ids // 2, n_ids, (MAX_ROWS, self._max_tokens), generator=torch.Generator().manual_seed(0))
        _run(backend, rows[:1])
        start = time.perf_counter()
        _run(backend, rows[:1])
        n_rows = int(SECONDS_PER_RUN / max(time.perf_counter() - start, 1e-6))
        return rows[: max(backend.n_parallel, n_rows) if backend.facts.can_pad else backend.n_parallel]


def _run(backend: Backend, ids: torch.Tensor) -> None:
    backend.run(ids, None, torch.zeros_like(ids) if backend.facts.takes_types else None)


def _run_parallel(backend: Backend, ids: torch.Tensor, workers: Workers) -> None:
    """As a run of documents does it: in as many batches as the backend computes at a time."""
    batches = ids.chunk(backend.n_parallel)
    if len(batches) == 1:
        _run(backend, ids)
        return
    for future in [workers.submit(partial(_run, backend, batch)) for batch in batches]:
        future.result()


def _check_off_cpu(request: Request, device: torch.device) -> None:
    if request.backend == "openvino" or request.dtype == "int8":
        raise ConfigError(f"backend='openvino' and dtype='int8' run on the CPU, not on {device}; use device='cpu' or leave them out.")
    candidates(request.backend, request.dtype, Abilities())


def abilities() -> Abilities:
    """Ask this machine."""
    is_installed = has_openvino()
    return Abilities(openvino=is_installed, torch_bf16=_torch_has_bf16(), openvino_bf16=is_installed and has_fast_bf16())


def _torch_has_bf16() -> bool:
    """Bfloat16 instructions, by name: without them torch computes it in a detour many times slower than float32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def machine() -> str:
    """Name what timings depend on, besides the model: the processor, how much of it this process may use, and who computes."""
    from longctx.chunking import available_cpus
    from longctx.doctor import package_version

    versions = [f"{name} {package_version(name)}" for name in ("torch", "openvino")]
    cpu = f"{processor_name()}, {available_cpus()} cpus, {torch.get_num_threads()} threads"
    return f"{cpu}, {torch.backends.cpu.get_cpu_capability()}, {', '.join(versions)}"


def processor_name() -> str:
    """Give the name of the processor, where the system tells; else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def choices_folder() -> Path:
    """Where measured choices are kept, a file each."""
    return cache_folder() / "choices"


def _remembered(path: Path, options: list[Choice]) -> Choice | None:
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    choice = Choice(str(content.get("backend")), str(content.get("dtype")))
    return choice if choice in options else None


def measured_choices() -> list[dict[str, Any]]:
    """Read what was measured on this machine as it is now, newest first."""
    here = machine()
    files = sorted(choices_folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = [read_json(path) for path in files]
    return [content for content in found if isinstance(content, dict) and content.get("machine") == here]
