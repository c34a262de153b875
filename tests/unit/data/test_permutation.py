"""The order of very many samples is a function."""

from __future__ import annotations

import numpy as np
import pytest

from disttrain.data import BatchPlan, plan
from disttrain.data.permutation import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 64, 1000, 4097])
def test_every_number_stands_at_one_place(size):
    found = Permutation(size, key=3)(np.arange(size))
    assert sorted(found.tolist()) == list(range(size))


def test_it_depends_on_the_key_and_not_on_how_it_is_asked():
    places = np.arange(10_000)
    whole = Permutation(10_000, 1)(places)
    assert np.array_equal(np.concatenate([Permutation(10_000, 1)(part) for part in np.split(places, 8)]), whole)
    other = Permutation(10_000, 2)(places)
    assert not np.array_equal(whole, other)
    assert (whole == other).mean() < 0.01 and abs(np.corrcoef(whole, places)[0, 1]) < 0.05 > abs(np.corrcoef(whole, other)[0, 1])


def test_places_are_drawn_evenly():
    counts = np.zeros((8, 8))
    for key in range(2000):
        counts[np.arange(8), Permutation(8, key)(np.arange(8))] += 1
    assert np.abs(counts / 2000 - 1 / 8).max() < 0.04


def test_a_plan_of_a_hundred_million_samples_makes_no_list_of_them():
    batches = BatchPlan(100_000_000, 64, 4, shuffle=True, seed=1)
    seen = np.concatenate([batches.indices(epoch, step, rank) for epoch in (0, 7) for step in (0, 1_000_000) for rank in range(4)])
    assert len(set(seen.tolist())) == len(seen) == 4 * 64 and seen.max() > 50_000_000
    assert batches._orders == {}
    assert np.array_equal(np.concatenate([batches.indices(7, 3, rank) for rank in range(4)]), batches.indices(7, 3))


def test_orders_that_are_lists_stay_as_they_were(monkeypatch):
    listed = BatchPlan(1000, 10, shuffle=True, seed=5)
    assert listed.order(3)[:5].tolist() == np.random.Generator(np.random.Philox(key=listed_key(5, 3))).permutation(1000)[:5].tolist()
    monkeypatch.setattr(plan, "LISTED_SAMPLES", 999)
    assert sorted(listed.order(3).tolist()) == list(range(1000))


def listed_key(seed: int, number: int) -> int:
    from disttrain.seeds import fold_in

    return fold_in(seed, "shuffle", number)
