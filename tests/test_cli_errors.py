"""The command line on what it cannot do: one clear line on stderr, an exit code, no traceback, and nothing half written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import Run, command, environment

ERRORS: list[tuple[list[str], str]] = [
    (["chunk", "-t", "TOKENIZER"], "no documents; give files or folders"),
    (["chunk", "missing.txt", "-t", "TOKENIZER"], "'missing.txt': no such file or folder"),
    (["chunk", "bad.txt", "-t", "TOKENIZER"], "byte 1 (0xff) is not valid UTF-8"),
    (["chunk", "bad.jsonl", "-t", "TOKENIZER"], "'bad.jsonl', line 2: not valid JSON"),
    (["chunk", "ok.csv", "-t", "TOKENIZER"], "no column 'text'; available columns: 'body'"),
    (["chunk", "empty", "-t", "TOKENIZER"], "the folder holds no files"),
    (["chunk", "none.jsonl", "-t", "TOKENIZER"], "the inputs hold no documents"),
    (["chunk", "new\nline\x1b[2J.txt", "-t", "TOKENIZER"], "\\x1b[2J.txt'"),
    (["chunk", "ok.txt", "-t", "no-such-folder/tokenizer.json"], "tokenizer"),
    (["chunk", "ok.txt", "-t", "ok.txt"], "ok.txt"),
    (["chunk", "ok.txt", "-t", "TOKENIZER", "--max-tokens", "2"], "max_tokens=2"),
    (["chunk", "ok.txt", "-t", "TOKENIZER", "--max-tokens", "-5"], "max_tokens=-5"),
    (["chunk", "ok.txt", "-t", "TOKENIZER", "--max-tokens", "16", "--overlap-tokens", "99"], "overlap_tokens=99"),
    (["chunk", "ok.txt", "-t", "TOKENIZER", "--output", "out.txt"], "must end in .jsonl or .parquet"),
    (["chunk", "ok.txt", "-t", "TOKENIZER", "--output", "none/out.jsonl"], "does not exist; create it first"),
    (["chunk", ".", "-t", "TOKENIZER", "--output", "out.jsonl"], "lies in the input folder '.'"),
    (["chunk", "bad.jsonl", "-t", "TOKENIZER", "--output", "bad.jsonl"], "both input and output"),
    (["classify", "ok.txt"], "give --model CHECKPOINT, or --labels a,b,c"),
    (["classify", "ok.txt", "--labels", "a,,b"], "--labels='a,,b' holds an empty name"),
    (["classify", "ok.txt", "--labels", "a,b,a"], "label 'a' is given more than once"),
    (["classify", "ok.txt", "--model", "./no-such-model"], "no-such-model"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--device", "abacus"], "abacus"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--backend", "abacus"], "abacus"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--dtype", "float3"], "float3"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--aggregate", "median"], "median"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--max-tokens", "1"], "max_tokens=1"),
    (["classify", "ok.txt", "--model", "CHECKPOINT", "--html", "report.pdf"], "must end in .html or .htm"),
]


@pytest.fixture
def bad_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with one of each: fine, broken, empty."""
    monkeypatch.chdir(tmp_path)
    Path("ok.txt").write_text("a film")
    Path("bad.txt").write_bytes(b"a\xff")
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text\n')
    Path("ok.csv").write_text("body\na\n")
    Path("empty").mkdir()
    Path("none.jsonl").touch()


@pytest.mark.usefixtures("bad_inputs")
@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_an_error_is_one_clear_line_and_exit_status_2(run: Run, checkpoint: Path, arguments: list[str], message: str) -> None:
    names = {"TOKENIZER": str(checkpoint / "tokenizer.json"), "CHECKPOINT": str(checkpoint)}
    outcome = run(*(names.get(argument, argument) for argument in arguments))
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("longctx: error: ")
    assert message in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["chonk"],
        ["chunk", "a.txt"],
        ["chunk", "a.txt", "-t", "x", "--boundary", "line"],
        ["chunk", "a.txt", "-t", "x", "--max-tokens", "many"],
        ["classify", "--no-such-option"],
        ["classify", "a.txt", "--input-format", "xml"],
    ],
)
def test_wrong_arguments_end_with_2(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err


def test_a_failed_run_leaves_the_old_results_and_no_other_file(run: Run, tmp_path: Path, tokenizer: Path) -> None:
    lines = ['{"text": "a film"}'] * 300 + ["broken"]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "out.jsonl").write_text("old")
    assert run("chunk", tmp_path / "t.jsonl", "-t", tokenizer, "-o", tmp_path / "out.jsonl").code == 2
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "t.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_an_error(book: Path, tokenizer: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command("chunk", book, "-t", tokenizer), stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert done.returncode == 2
    assert done.stderr == b"longctx: error: standard output: cannot be written (No space left on device)\n"


def test_a_closed_pipe_is_quiet(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "the film was good"}\n' * 20_000)
    process = subprocess.Popen(
        command("chunk", tmp_path / "t.jsonl", "-t", tokenizer), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path, tokenizer: Path) -> None:
    process = subprocess.Popen(
        command("chunk", "-", "-t", tokenizer, "--output", tmp_path / "out.jsonl", "--input-format", "jsonl"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    process.stdin.write(b'{"text": "a film"}\n' * 300)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=60)
    # Shells say 130 of both. Where the signal comes while code from a string runs, as modules with dataclasses do when they are imported,
    # `python -m` ends itself by the signal, whatever status it is to exit with.
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in problems
    assert list(tmp_path.iterdir()) == []
