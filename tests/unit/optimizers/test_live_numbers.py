"""`optimizer.iterations` and `optimizer.learning_rate`: numbers, with the methods of Keras's variables."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from disttrain import optimizers

OPTIMIZERS = {
    "plain": lambda: optimizers.Adam(0.1),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    "torch's": lambda: optimizers.get(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_learning_rate_is_a_number_that_can_be_assigned(kind):
    optimizer = OPTIMIZERS[kind]()
    rate = optimizer.learning_rate
    assert isinstance(rate, float) and rate == 0.1 and f"{rate:.2f}" == "0.10" and json.dumps(rate) == "0.1" and 1 - rate == 0.9
    rate.assign(0.5)
    assert optimizer.learning_rate == rate == 0.5 and float(rate) == 0.5 and round(rate, 1) == 0.5
    assert optimizer.learning_rate.numpy() == pytest.approx(0.5) and optimizer.learning_rate.value.dtype is torch.float32


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_count_is_a_number_that_can_be_assigned(kind):
    optimizer = OPTIMIZERS[kind]()
    assert optimizer.iterations == 0 and not optimizer.iterations
    assert optimizer.iterations.assign(3) == 3 and optimizer.iterations.assign_add(2) == 5 and optimizer.iterations.assign_sub(1) == 4
    optimizer.iterations += 1
    assert list(range(optimizer.iterations)) == [0, 1, 2, 3, 4] and int(optimizer.iterations.value) == 5


def test_a_number_that_was_read_stays_as_it_was_and_its_value_is_the_newest():
    optimizer = optimizers.SGD(0.1)
    rate, count = optimizer.learning_rate, optimizer.iterations
    optimizer.learning_rate, optimizer.iterations = 0.2, 7
    assert rate == 0.1 and count == 0
    assert float(rate.value) == pytest.approx(0.2) and int(count.numpy()) == 7
    assert type(copy.deepcopy(rate)) is float and type(copy.deepcopy(count)) is int


def test_names_and_paths_are_keras_s():
    optimizer = optimizers.Adam()
    assert (optimizer.learning_rate.path, optimizer.iterations.path) == ("adam/learning_rate", "adam/iteration")


def test_the_rate_of_a_schedule_cannot_be_assigned():
    optimizer = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(TypeError, match="created with a `LearningRateSchedule`"):
        optimizer.learning_rate.assign(0.5)


def test_a_step_from_given_values_leaves_the_optimizer_alone():
    optimizer, weights = optimizers.Adam(0.1), [torch.ones(2)]
    optimizer.build(weights)
    before = [variable.clone() for variable in optimizer.variables]
    moved, after = optimizer.stateless_apply(optimizer.variables, [torch.ones(2)], weights)
    assert weights[0].tolist() == [1.0, 1.0] and moved[0].tolist() == pytest.approx([0.9, 0.9])
    assert all(torch.equal(now, then) for now, then in zip(optimizer.variables, before, strict=True)) and int(after[0]) == 1
    again, _ = optimizer.stateless_apply(after, [torch.ones(2)], moved)
    assert again[0].tolist() == pytest.approx([0.8, 0.8], rel=1e-5)
