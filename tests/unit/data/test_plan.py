"""Which samples make up which step."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disttrain.data import BatchPlan
from disttrain.data.plan import check_batch_size, slice_of
from disttrain.errors import DataError


def test_ten_samples_in_four_slices_differ_by_at_most_one():
    assert [slice_of(10, 4, v) for v in range(4)] == [(0, 3), (3, 6), (6, 8), (8, 10)]


def test_an_epoch_visits_every_sample_once_and_keeps_the_short_last_batch():
    plan = BatchPlan(10, 4, shuffle=True, seed=7)
    seen = np.concatenate([plan.indices(0, step) for step in range(plan.steps)])
    assert plan.steps == 3 and sorted(seen.tolist()) == list(range(10))
    assert [plan.batch_count(0, step) for step in range(3)] == [4, 4, 2]


def test_each_epoch_has_an_order_of_its_own_and_the_same_one_every_time():
    plan = BatchPlan(50, 10, shuffle=True, seed=1)
    first, second = plan.indices(0, 0).tolist(), plan.indices(1, 0).tolist()
    assert first != second
    assert BatchPlan(50, 10, shuffle=True, seed=1).indices(0, 0).tolist() == first
    assert BatchPlan(50, 10, shuffle=True, seed=2).indices(0, 0).tolist() != first


def test_without_shuffling_samples_come_in_order():
    assert BatchPlan(5, 2).indices(3, 2).tolist() == [4]


def test_steps_per_epoch_goes_on_where_the_epoch_before_stopped():
    plan = BatchPlan(6, 2, steps_per_epoch=2)
    assert [plan.indices(epoch, step).tolist() for epoch in range(2) for step in range(2)] == [[0, 1], [2, 3], [4, 5], [0, 1]]


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 12), st.integers(0, 5))
def test_the_slices_of_a_step_are_its_batch_in_order(samples, batch, virtual, epoch):
    plan = BatchPlan(samples, batch, virtual, shuffle=True, seed=3)
    for step in (0, plan.steps - 1):
        slices = [plan.indices(epoch, step, v) for v in range(virtual)]
        assert np.concatenate(slices).tolist() == plan.indices(epoch, step).tolist()
        sizes = [len(s) for s in slices]
        assert max(sizes) - min(sizes) <= 1 and sorted(sizes, reverse=True) == sizes


def test_a_plan_travels_without_its_cached_orders():
    plan = BatchPlan(1000, 10, shuffle=True)
    small = len(pickle.dumps(plan))
    plan.indices(0, 0)
    assert len(pickle.dumps(plan)) == small


def test_bad_sizes_are_refused_at_the_door():
    with pytest.raises(DataError, match="no samples"):
        BatchPlan(0, 1)
    with pytest.raises(DataError, match="batch_size=0"):
        BatchPlan(5, 0)
    with pytest.raises(DataError, match=r"batch_size=3 cannot be cut into 4 slices(.|\n)*try"):
        check_batch_size(3, 4)
