"""Arrays lie where Rust wrote them, and are handed to torch without a copy."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from longctx import ChunkBatch, Chunker
from longctx.documents import as_runs
from tokenizers_built import built

ARRAYS = ["input_ids", "lengths", "document_index", "token_spans", "char_spans", "fresh_tokens", "offsets"]
LARGE = ["input_ids", "offsets"]


def batch_of(**options: Any) -> ChunkBatch:
    chunker = Chunker(built("bert_like"), max_tokens=32, overlap_tokens=4, offsets=True, **options)
    return chunker(["the quick brown fox jumps over the lazy dog " * 40, "fox"])


@pytest.mark.parametrize("name", [*ARRAYS, "attention_mask", "token_type_ids"])
def test_arrays_are_c_contiguous(name: str) -> None:
    assert getattr(batch_of(), name).flags.c_contiguous


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_outlive_the_batch_and_the_chunker(name: str) -> None:
    array = getattr(batch_of(), name)
    expected = array.copy()
    gc.collect()
    batch_of(), batch_of(dtype="int32")
    assert np.array_equal(array, expected)


@pytest.mark.parametrize("name", ARRAYS)
def test_memory_is_owned_by_what_rust_gave(name: str) -> None:
    root = getattr(batch_of(), name)
    while isinstance(root.base, np.ndarray):
        root = root.base
    # The base object keeps the memory alive; an array that owns its data was copied. The two that are large give their memory back.
    assert type(root.base).__name__ == ("RowOwner" if name in LARGE else "PySliceContainer")


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", ["bert_like", "xlnet_like"])
def test_memory_of_rows_that_are_gone_is_used_again_and_nothing_of_them_is_left(dtype: str, name: str) -> None:
    def new_chunker() -> Chunker:
        return Chunker(built(name), max_tokens=64, overlap_tokens=4, offsets=True, dtype=dtype, threads=1)

    chunker = new_chunker()
    full = chunker(["the quick brown fox jumps over the lazy dog " * 9000])
    addresses = {getattr(full, array).ctypes.data for array in LARGE}
    del full
    others = ["lazy dog " * (number // 100) for number in range(2000)]  # rows become longer, group by group
    again, expected = chunker(others), new_chunker()(others)
    assert {getattr(again, array).ctypes.data for array in LARGE} == addresses
    for array in [*ARRAYS, "attention_mask"]:
        assert np.array_equal(getattr(again, array), getattr(expected, array)), array


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("kept", ["array", "part", "tensor"])
def test_memory_is_not_used_again_while_anything_looks_at_it(name: str, kept: str) -> None:
    chunker = Chunker(built("bert_like"), max_tokens=64, overlap_tokens=4, offsets=True)
    array = getattr(chunker(["the quick brown fox jumps over the lazy dog " * 9000]), name)
    kept_one = {"array": array, "part": array[-9:, 1:], "tensor": torch.from_numpy(array)}[kept]
    expected = np.asarray(kept_one).copy()
    del array
    gc.collect()
    batches = [chunker(["lazy dog " * 40_000]) for _ in range(3)]
    assert np.array_equal(np.asarray(kept_one), expected)
    assert len({getattr(batch, name).ctypes.data for batch in batches}) == len(batches)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_the_text_of_a_column_is_read_where_it_lies(kind: pa.DataType) -> None:
    column = pa.array(["the quick brown fox jumps", "over the lazy dog, and sleeps"], kind).slice(1)
    text = next(buffer for buffer in reversed(column.buffers()) if buffer is not None)
    ((_, data),) = as_runs(column)
    given = data[0] if isinstance(data, list) else data
    assert given.ctypes.data == text.address


def test_asking_twice_gives_the_same_memory() -> None:
    batch = batch_of()
    assert np.shares_memory(batch.input_ids, batch.input_ids)
    assert batch.input_ids.ctypes.data == batch.input_ids.ctypes.data


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_to_torch_shares_memory_on_the_cpu(dtype: str) -> None:
    batch = batch_of(dtype=dtype)
    tensors = batch.to_torch()
    assert tensors["input_ids"].data_ptr() == batch.input_ids.ctypes.data
    assert str(tensors["input_ids"].dtype) == f"torch.{dtype}"
    assert {"input_ids", "attention_mask", "token_type_ids"} <= set(tensors)
    assert tuple(tensors["attention_mask"].shape) == batch.input_ids.shape


def test_to_torch_of_a_tokenizer_without_types_has_none() -> None:
    batch = Chunker(built("gpt2_like"), max_tokens=8, overlap_tokens=0)("the fox")
    assert (batch.token_type_ids is None) == ("token_type_ids" not in batch.to_torch())


def test_to_torch_on_a_named_device_moves_every_tensor() -> None:
    tensors = batch_of().to_torch(device="meta")
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
