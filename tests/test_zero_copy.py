"""Arrays are moved out of Rust, not copied, and handed to torch without a copy."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from longctx import ChunkBatch, Chunker
from longctx.documents import as_runs
from tokenizers_built import built

ARRAYS = ["input_ids", "lengths", "document_index", "token_spans", "char_spans", "fresh_tokens", "offsets"]


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
def test_memory_is_owned_by_the_moved_rust_vector(name: str) -> None:
    root = getattr(batch_of(), name)
    while isinstance(root.base, np.ndarray):
        root = root.base
    # rust-numpy keeps a moved vector alive through the base object; an array that owns its data was copied.
    assert type(root.base).__name__ == "PySliceContainer"


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
