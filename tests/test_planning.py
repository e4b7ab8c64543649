"""Rows meet in batches that waste nothing, and none waits for ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.batch import RowLayout
from longctx.inference.planning import MOST_WAIT_BATCHES, Row, RowGroup, RowPool

LAYOUT = RowLayout((0,), 0, (0,), 0, 0, "right", False)
FULL = 40


def row(n_tokens: int) -> Row:
    return Row(np.zeros(n_tokens, np.int32), None, n_tokens, LAYOUT)


def drain(pool: RowPool, budget: int) -> list[RowGroup]:
    groups = []
    while (group := pool.take(budget, is_end=True)) is not None:
        groups.append(group)
    return groups


lengths_drawn = st.lists(st.integers(1, FULL), max_size=120)


@given(lengths=lengths_drawn, budget=st.integers(1, 300), packs=st.booleans(), padding=st.sampled_from(["allowed", "never", "single"]))
def test_every_row_goes_once_in_groups_within_the_budget(lengths: list[int], budget: int, packs: bool, padding: str):
    pool = RowPool(frozenset({FULL}), padding=padding, packs=packs)
    rows = [row(length) for length in lengths]
    for one in rows:
        pool.add(one)
    groups = drain(pool, budget)
    assert sorted(id(one) for group in groups for one in group.rows) == sorted(map(id, rows))
    assert all(group.n_tokens <= budget or len(group.rows) == 1 for group in groups)
    if padding == "single":
        assert all(len(group.rows) == 1 and not group.is_packed for group in groups)
    if padding == "never":
        assert all(group.is_even or group.is_packed for group in groups)


@given(lengths=lengths_drawn, budget=st.integers(1, 300))
def test_padding_is_at_most_two_percent_of_each_batch(lengths: list[int], budget: int):
    pool = RowPool(frozenset({FULL}))
    for length in lengths:
        pool.add(row(length))
    assert all(group.n_tokens - group.n_row_tokens <= 0.02 * group.n_tokens for group in drain(pool, budget))


@given(lengths=lengths_drawn, budget=st.integers(1, 300), packs=st.booleans())
def test_a_group_that_was_put_back_comes_again(lengths: list[int], budget: int, packs: bool):
    pool = RowPool(frozenset({FULL}), packs=packs)
    for length in lengths:
        pool.add(row(length))
    first = pool.take(budget, is_end=True)
    if first is not None:
        pool.put_back(first)
    assert sum(len(group.rows) for group in drain(pool, max(1, budget // 2))) == len(lengths)


def test_full_rows_wait_for_a_batch_of_them_and_need_no_mask():
    pool = RowPool(frozenset({FULL}), packs=True)
    for _ in range(3):
        pool.add(row(FULL))
        pool.add(row(3))
    assert pool.take(4 * FULL, is_end=False) is None
    pool.add(row(FULL))
    group = pool.take(4 * FULL, is_end=False)
    assert group is not None
    assert (len(group.rows), group.is_even, group.is_packed) == (4, True, False)


def test_packed_tails_go_as_soon_as_they_fill_a_batch_in_the_order_they_came():
    pool = RowPool(frozenset({FULL}), packs=True)
    rows = [row(length) for length in (20, 30, 15, 25, 10)]
    for one in rows:
        pool.add(one)
    group = pool.take(90, is_end=False)
    assert group is not None
    assert group.is_packed
    assert group.rows == rows[:4]
    assert pool.take(90, is_end=False) is None


@given(lengths=lengths_drawn, budget=st.integers(1, 300), packs=st.booleans(), padding=st.sampled_from(["allowed", "never", "single"]))
def test_the_last_rows_are_shared_by_groups_that_are_read_at_a_time(lengths: list[int], budget: int, packs: bool, padding: str):
    pool = RowPool(frozenset({FULL}), padding=padding, packs=packs, n_parallel=2)
    for length in lengths:
        pool.add(row(length))
    n_left = sum(lengths)
    for _ in range(len(lengths)):
        assert pool.n_tokens == n_left
        group = pool.take(budget, is_end=True)
        if group is None:
            break
        n_left -= group.n_row_tokens
        assert group.n_tokens <= min(budget, 0.51 * (n_left + group.n_row_tokens) + 1) or len(group.rows) == 1
    assert pool.n_tokens == n_left == 0


@pytest.mark.parametrize("packs", [False, True])
def test_no_group_is_given_before_there_are_rows_for_all_that_are_read_at_a_time(packs: bool):
    length = FULL - 10 * packs
    pool = RowPool(frozenset({FULL}), packs=packs, n_parallel=2)
    for _ in range(7):
        pool.add(row(length))
        assert pool.take(4 * length, is_end=False) is None
    pool.add(row(length))
    group = pool.take(4 * length, is_end=False)
    assert group is not None
    assert (len(group.rows), group.is_packed) == (4, packs)


@pytest.mark.parametrize("packs", [False, True])
def test_a_row_of_a_rare_length_does_not_wait_for_ever(packs: bool):
    pool = RowPool(frozenset({FULL}), packs=packs)
    rare = row(7)
    pool.add(rare)
    for n_groups in range(MOST_WAIT_BATCHES + 3):
        pool.add(row(FULL))
        group = pool.take(FULL, is_end=False)
        while group is not None:
            if rare in group.rows:
                assert n_groups >= MOST_WAIT_BATCHES - 1
                return
            group = pool.take(FULL, is_end=False)
    pytest.fail("the rare row is still waiting")
