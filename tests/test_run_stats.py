"""The meter counts what was done."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from longctx import Chunker, LongDocumentClassifier, Predictions
from longctx.cli import app
from longctx.inference.meter import Meter, model_flops
from models import DOCUMENTS, MAX_TOKENS, save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("bert"), num_labels=3)


def test_rows_and_tokens_are_those_the_chunker_gives(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    assert classifier.last_run is None
    run = classifier(DOCUMENTS).run
    assert run is not None
    assert run == classifier.last_run
    batch = Chunker(str(folder), max_tokens=MAX_TOKENS, overlap_tokens=4)(DOCUMENTS)
    distinct = {row[:length].tobytes() for row, length in zip(batch.input_ids, batch.lengths, strict=True)}
    assert run.documents == len(DOCUMENTS)
    assert (run.rows, run.rows + run.duplicate_rows) == (len(distinct), batch.n_rows)
    assert run.tokens == sum(len(row) for row in distinct) // batch.input_ids.itemsize
    assert run.padding_tokens == 0 == run.padding_share
    assert run.tokens_per_second > 0
    assert 0 < run.seconds_computing <= run.seconds
    assert 0 <= run.idle_share < 1
    assert run.mfu is None
    assert run.peak_device_bytes is None


def test_equal_chunks_are_read_once_and_all_get_the_values(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu", token_budget=2 * MAX_TOKENS)
    single = classifier(DOCUMENTS)
    many = classifier(DOCUMENTS * 30)
    assert single.run is not None
    assert many.run is not None
    assert many.run.rows == single.run.rows
    for i, prediction in enumerate(many):
        assert prediction.probabilities == pytest.approx(single[i % len(DOCUMENTS)].probabilities, abs=1e-5)


def test_a_padded_run_counts_its_padding(tmp_path: Path):
    folder = save_checkpoint(tmp_path, "DebertaV2", num_labels=2)
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    rng = np.random.default_rng(0)
    run = classifier([" ".join(rng.choice(["fox", "dog", "lazy"], int(rng.integers(1, 60)))) for _ in range(200)]).run
    assert run is not None
    assert run.padding_share <= 0.02


def test_stats_are_plain_values_and_readable_text(folder: Path):
    run = LongDocumentClassifier.from_pretrained(folder, device="cpu")(DOCUMENTS).run
    assert run is not None
    assert json.loads(json.dumps(run.to_dict()))["tokens"] == run.tokens
    assert f"{run.tokens:,} tokens" in str(run)
    assert "padding" in str(run)


def test_predictions_put_together_by_hand_have_no_run():
    assert Predictions([]).run is None


def test_the_command_line_shows_them_on_stderr_when_asked(folder: Path):
    arguments = ["classify", "--text", DOCUMENTS[0], "--model", str(folder), "--device", "cpu"]
    plain = CliRunner().invoke(app, arguments)
    shown = CliRunner().invoke(app, [*arguments, "--stats"])
    assert plain.exit_code == shown.exit_code == 0
    assert "tokens/s" not in plain.stderr
    assert "tokens/s" in shown.stderr
    assert "tokens/s" not in shown.stdout


def test_arithmetic_is_counted_from_the_sizes_of_the_model():
    bert = SimpleNamespace(hidden_size=768, intermediate_size=3072, num_hidden_layers=12)
    assert model_flops(bert, 512, 512**2) == pytest.approx(512 * 188.74e6, rel=1e-3)
    assert model_flops(SimpleNamespace(hidden_size=768), 512, 512**2) is None


def test_a_last_layer_for_first_tokens_counts_keys_values_and_one_token():
    bert = SimpleNamespace(hidden_size=768, intermediate_size=3072, num_hidden_layers=1)
    keys_and_values, rest = 2 * 2 * 768**2, 2 * (2 * 768**2 + 2 * 768 * 3072)
    scores_and_sums = 2 * 2 * 768
    assert model_flops(bert, 1024, 2 * 512**2, n_first=2) == (keys_and_values + scores_and_sums) * 1024 + rest * 2


def test_no_peak_is_claimed_for_a_processor():
    assert Meter().stats(torch.device("cpu")).mfu is None
