"""What is kept on disk: where, under which fingerprint, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from longctx.inference.backends.cache import MANIFEST, cache_folder, is_whole, model_fingerprint, publish, read_json, write_json
from models import save_checkpoint


def test_the_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("LONGCTX_CACHE")
    assert cache_folder() == tmp_path / "shared" / "longctx"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "longctx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "longctx"


def test_the_same_weights_have_one_fingerprint_wherever_they_lie(tmp_path: Path):
    models = [transformers.AutoModelForSequenceClassification.from_pretrained(save_checkpoint(tmp_path / name)) for name in "ab"]
    assert model_fingerprint(models[0]) == model_fingerprint(models[1])


@pytest.mark.parametrize("change", ["weight", "config", "dtype"])
def test_any_change_of_a_model_changes_its_fingerprint(tmp_path: Path, change: str):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(save_checkpoint(tmp_path))
    before = model_fingerprint(model)
    if change == "weight":
        with torch.no_grad():
            model.classifier.bias[0] += 1e-6
    elif change == "config":
        model.config.layer_norm_eps *= 2
    else:
        model.bfloat16()
    assert model_fingerprint(model) != before


def test_a_published_folder_is_whole(tmp_path: Path):
    assert publish(tmp_path / "made", lambda draft: (draft / "file").write_bytes(b"12345"))
    assert is_whole(tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("damage", ["truncate", "change", "remove", "no manifest", "bad manifest"])
def test_a_damaged_folder_is_not_whole(tmp_path: Path, damage: str):
    folder = tmp_path / "made"
    publish(folder, lambda draft: (draft / "file").write_bytes(b"12345"))
    if damage in ("truncate", "change"):
        (folder / "file").write_bytes(b"123" if damage == "truncate" else b"54321")
    elif damage == "remove":
        (folder / "file").unlink()
    elif damage == "no manifest":
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_text("{")
    assert not is_whole(folder)


def test_a_failure_while_filling_leaves_nothing(tmp_path: Path):
    def fill(draft: Path) -> None:
        (draft / "file").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "made", fill)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_faster_process_stays(tmp_path: Path):
    publish(tmp_path / "made", lambda draft: (draft / "file").write_bytes(b"first"))
    assert publish(tmp_path / "made", lambda draft: (draft / "file").write_bytes(b"second"))
    assert (tmp_path / "made" / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    assert not publish(tmp_path / "file" / "made", lambda _: None)
    write_json(tmp_path / "file" / "note.json", {})
    assert read_json(tmp_path / "file" / "note.json") is None
