"""Writers: all of the results or the old file, and every problem is named with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from longctx.data import WriteError, open_writer, read_documents
from longctx.errors import ConfigError, LongctxError


def values(path: Path) -> list[str]:
    return [document.text for document in read_documents([path], text="value")]


class Group:
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def records(self) -> Iterator[Mapping[str, Any]]:
        return ({"id": f"d{n}", "value": value} for n, value in enumerate(self.values))

    def table(self) -> pa.Table:
        return pa.Table.from_pylist([dict(record) for record in self.records()])


def test_written_results_are_read_back(tmp_path: Path) -> None:
    for name in ("r.jsonl", "r.parquet"):
        with open_writer(tmp_path / name) as writer:
            writer.write(Group(["\u00e9\n", "b"]))
            writer.write(Group(["c"]))
        assert values(tmp_path / name) == ["\u00e9\n", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "r.parquet"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")

    def write_and_stop() -> None:
        with open_writer(tmp_path / name) as writer:
            writer.write(Group(["new"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    with open_writer(tmp_path / "link.jsonl") as writer:
        writer.write(Group(["a"]))
    assert (tmp_path / "link.jsonl").is_symlink()
    assert values(tmp_path / "real.jsonl") == ["a"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("r.txt", ConfigError, r"must end in \.jsonl or \.parquet"),
        ("r", ConfigError, "must end in"),
        ("none/r.jsonl", WriteError, "does not exist; create it first"),
        ("folder.jsonl", WriteError, "is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, name: str, kind: type[LongctxError], message: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(kind, match=message), open_writer(tmp_path / name):
        raise AssertionError("the block must not run")


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="'d1' is not valid JSON"), open_writer(tmp_path / "r.jsonl") as writer:
        writer.write(Group([1.0, float("nan")]))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_write_error(tmp_path: Path) -> None:
    from longctx.data.writers import JsonlWriter

    with pytest.raises(WriteError, match="No space left"), Path("/dev/full").open("wb", buffering=0) as file:
        JsonlWriter(file, "'full'").write(Group(["a"]))
