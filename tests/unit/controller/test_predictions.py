"""The outputs of a predict, in any order and some of them twice."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from disttrain.controller.predictions import Outputs
from disttrain.data import BatchPlan
from disttrain.training.program import Kind, Program

V = 4


def outputs(steps: int, every_batch: bool = False, last: int = V) -> Outputs:
    """Of a predict over `steps` batches, the last one of `last` samples."""
    plan = BatchPlan(samples=(steps - 1) * 8 + last, batch_size=8, virtual_workers=V, restarts=True)
    every = frozenset({Kind.PREDICT}) if every_batch else frozenset()
    program = Program(((Kind.PREDICT, plan),), boundaries=False, every_batch=every)
    return Outputs(SimpleNamespace(program=program, virtual_workers=V))


@pytest.mark.parametrize("seed", range(5))
def test_whatever_order_the_parts_come_in_the_first_missing_step_is_known(seed):
    found, parts = outputs(12, last=2), [*range(11 * V + 2)]  # the last batch has two slices only
    draw = random.Random(seed)
    arrivals = [*parts, *draw.sample(parts, 20)]  # some twice
    draw.shuffle(arrivals)
    here: set[int] = set()
    for part in arrivals:
        found.take({part: None})
        here.add(part)
        expected = next((part // V for part in parts if part not in here), 12)
        assert found.first_missing() == expected and found.goes_on_at(-1) == expected
        assert found.reach(expected) and not found.reach(expected + 1)
    assert found.first_missing() == 12


def test_a_group_goes_on_at_the_boundary_whose_hooks_have_not_run():
    found = outputs(3, every_batch=True)
    found.take(dict.fromkeys(range(V)))
    assert found.goes_on_at(-1) == 1  # the boundary after the first step
    assert found.goes_on_at(1) == 2


class Looks(dict):
    """Counts how often somebody looks whether a part is there."""

    looks = 0

    def __contains__(self, part):
        self.looks += 1
        return super().__contains__(part)


def test_asking_after_each_of_many_batches_costs_as_much_as_after_one():
    steps = 4000
    found = outputs(steps)
    found.parts = Looks()
    for step in range(steps):
        found.take(dict.fromkeys(range(step * V, step * V + V)))
        assert found.first_missing() == step + 1
    assert found.parts.looks <= 2 * V * steps
