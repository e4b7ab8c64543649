"""Which device, which precision, and how many tokens at a time."""

from __future__ import annotations

import torch

from longctx.errors import ConfigError, one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_TOKEN_BUDGET = 1536
"""3 rows of 512: more rows leave the cache of a CPU core without being faster. Two such batches are computed at a time."""
CUDA_TOKEN_BUDGET = 65536
BF16_CAPABILITY = (8, 0)
"""First CUDA compute capability with bfloat16 units."""


def pick_device(device: str | torch.device) -> torch.device:
    """``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the device is not known or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r} is not known; use 'auto', 'cpu', 'cuda' or 'cuda:0'.") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device!r}: torch sees no CUDA device; use device='auto' or 'cpu'.")
    try:
        torch.zeros(1, device=picked).item()  # the one question that every kind of device answers; "meta" holds no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"device={device!r} cannot be used here ({one_line(error)}); use 'auto', 'cpu' or one that is there.") from error
    return picked


def dtype_name(dtype: str | torch.dtype) -> str:
    """``"auto"``, a name of ``DTYPES`` or ``"int8"``.

    Raises:
        ConfigError: the precision is not known.
    """
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype not in ("auto", *DTYPES, "int8"):
        raise ConfigError(f"dtype={dtype!r} is not known; use 'auto', 'float32', 'bfloat16', 'float16' or 'int8'.")
    return dtype


def weights_dtype(name: str, device: torch.device) -> torch.dtype:
    """Precision to load weights in: on a CPU float32, from which the backend makes what it computes in.

    On CUDA ``"auto"`` is bfloat16 from compute capability 8.0 and else float32; on other devices it is float32.
    """
    if device.type == "cpu":
        return torch.float32
    if name in DTYPES:
        return DTYPES[name]
    has_bf16 = name == "auto" and device.type == "cuda" and torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    return torch.bfloat16 if has_bf16 else torch.float32


def pick_token_budget(token_budget: int | str, device: torch.device) -> int:
    """Tokens of one batch, padding included. ``"auto"``: 1536 on a CPU, 65536 on CUDA.

    Raises:
        ConfigError: not a positive number.
    """
    if token_budget == "auto":
        return CUDA_TOKEN_BUDGET if device.type == "cuda" else CPU_TOKEN_BUDGET
    if isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1:
        raise ConfigError(f"token_budget={token_budget!r}: use 'auto' or a number of tokens of at least 1.")
    return token_budget
