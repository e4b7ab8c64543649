"""Breaks the code on purpose, one line at a time, and reports which mistakes the tests notice.

Reads ``scripts/mutants.toml``. Works on a copy of the repository under ``target/``: the working tree and the installed package are
never touched. Tests that need data from outside the repository are skipped there, so what is killed is killed everywhere.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

if sys.platform == "linux":
    import resource

REPOSITORY = Path(__file__).resolve().parents[1]
WORKSPACE = REPOSITORY / "target" / "mutants"
COPY = WORKSPACE / "tree"
COPIED = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "rust", "python", "tests", "benches")
MAX_MEMORY_BYTES = 10 << 30  # a mutant that never stops cutting would take all there is


@dataclass(frozen=True)
class Mutant:
    """One wrong line. ``old`` stands exactly once in ``file``."""

    file: str
    old: str
    new: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What to break and which tests should notice. ``first`` has those of a file that are likeliest to: they only save time."""

    tests: tuple[str, ...]
    first: Mapping[str, Sequence[str]]
    timeout_seconds: float
    mutants: tuple[Mutant, ...]


class BadMutantError(Exception):
    """A mutant cannot be applied, or the result does not compile."""


def read_plan(path: Path) -> Plan:
    """Read the configuration; every mutant needs all four fields."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    mutants = tuple(Mutant(**entry) for entry in table.get("mutant", []))
    return Plan(tuple(table["tests"]), table.get("first", {}), float(table["timeout_seconds"]), mutants)


def mutated(mutant: Mutant, tree: Path) -> str:
    """Give the text of the file in ``tree`` with the mistake in it."""
    text = (tree / mutant.file).read_text(encoding="utf-8")
    n_places = text.count(mutant.old)
    if n_places != 1:
        raise BadMutantError(f"{mutant.file}: {mutant.old!r} stands there {n_places} times; give a line that stands there once")
    return text.replace(mutant.old, mutant.new)


def copy_repository() -> None:
    """Make a fresh copy of what the build and the tests read, dated now: cargo takes files older than its last build for built."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, COPY / name, ignore=ignore, copy_function=shutil.copyfile)
        elif source.exists():
            shutil.copyfile(source, COPY / name)


def build() -> None:
    """Compile the copy in place, without optimisation: arithmetic that overflows then stops the program."""
    for stale in (COPY / "python" / "longctx").glob("_core*.so"):
        stale.unlink()
    environment = os.environ | {"CARGO_TARGET_DIR": str(WORKSPACE / "build"), "VIRTUAL_ENV": sys.prefix}
    command = [str(Path(sys.executable).with_name("maturin")), "develop", "--skip-install", "--quiet"]
    done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BadMutantError(f"it does not compile:\n{done.stderr}")


def limit_memory() -> None:
    """Bound the calling process. Linux only: elsewhere the timeout has to do."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def failing_test(tests: Sequence[str], timeout_seconds: float) -> str:
    """Run tests on the copy; give the first that fails, or an empty string."""
    files = [str(path.relative_to(COPY)) for pattern in tests for path in sorted(COPY.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-rfE", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"PYTHONPATH": str(COPY / "python"), "LONGCTX_TEST_PROFILE": "ci"}
    try:
        done = subprocess.run(
            command,
            cwd=COPY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            preexec_fn=limit_memory if sys.platform == "linux" else None,
        )
    except subprocess.TimeoutExpired:
        return "(no end in sight)"
    if done.returncode == 0:
        return ""
    failures = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failures[0].split(" ", 1)[1] if failures else f"(pytest ended with {done.returncode})"


def try_mutant(mutant: Mutant, plan: Plan) -> str:
    """Apply a mutant to the copy, run the tests and take it back."""
    target = COPY / mutant.file
    original = target.read_text(encoding="utf-8")
    target.write_text(mutated(mutant, COPY), encoding="utf-8")
    try:
        if target.suffix == ".rs":
            build()
        first = plan.first.get(mutant.file, ())
        return (first and failing_test(first, plan.timeout_seconds)) or failing_test(plan.tests, plan.timeout_seconds)
    finally:
        target.write_text(original, encoding="utf-8")


def check_baseline(plan: Plan) -> None:
    """Stop where the tests fail without any mutant."""
    copy_repository()
    build()
    if failure := failing_test(plan.tests, plan.timeout_seconds):
        raise SystemExit(f"{failure} fails without any mutant; repair that first.")


def run(plan: Plan) -> int:
    """Try every mutant and print a line for each; give how many survived or could not be tried."""
    check_baseline(plan)
    n_not_killed, built_from_mutant = 0, False
    for mutant in plan.mutants:
        if built_from_mutant and not mutant.file.endswith(".rs"):
            build()
        started = time.monotonic()
        try:
            failure = try_mutant(mutant, plan)
            verdict = "killed" if failure else "SURVIVED"
        except BadMutantError as error:
            verdict, failure = "INVALID", str(error)
        built_from_mutant = mutant.file.endswith(".rs")
        n_not_killed += verdict != "killed"
        seconds = time.monotonic() - started
        print(f"{verdict:8}  {seconds:4.0f} s  {mutant.file}: {mutant.why}" + (f"  [{failure}]" if failure else ""), flush=True)
    print(f"{len(plan.mutants) - n_not_killed} of {len(plan.mutants)} killed")
    return n_not_killed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when a mutant survived."""
    parser = argparse.ArgumentParser(description="Break the code on purpose and see whether the tests notice.")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "scripts" / "mutants.toml")
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants with this in their file or description")
    parser.add_argument("--list", action="store_true", help="check that every mutant can be applied; run nothing")
    options = parser.parse_args(arguments)
    plan = read_plan(options.config)
    chosen = tuple(m for m in plan.mutants if options.only in f"{m.file}: {m.why}")
    if options.list:
        for mutant in chosen:
            mutated(mutant, REPOSITORY)
            print(f"{mutant.file}: {mutant.why}")
        return 0
    return int(run(replace(plan, mutants=chosen)) > 0)


if __name__ == "__main__":
    sys.exit(main())
