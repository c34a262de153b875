"""Accumulated gradients, moving averages of weights, loss scales: what happens in which order, worked by hand."""

import pytest
import torch

from disttrain.optimizers import SGD, Adam, LossScaleOptimizer, Optimizer
from disttrain.optimizers.schedules import PiecewiseConstantDecay


def run(optimizer: Optimizer, gradients: list[float], weight: float = 0.0) -> list[float]:
    """The weight after each gradient."""
    param, seen = torch.tensor([weight]), []
    for gradient in gradients:
        optimizer.apply_to([param], [torch.tensor([gradient])])
        seen.append(round(float(param), 6))
    return seen


def test_an_update_comes_after_every_so_many_gradients_with_their_mean():
    optimizer = SGD(1.0, gradient_accumulation_steps=3)
    assert run(optimizer, [1.0, 2.0, 6.0, 3.0, 3.0, 3.0, 9.0]) == [0.0, 0.0, -3.0, -3.0, -3.0, -6.0, -6.0]
    assert (optimizer.iterations, optimizer.updates) == (7, 2)
    assert optimizer.slots["gradient_accumulator"][0].tolist() == [9.0]


def test_what_is_clipped_and_decayed_is_the_mean():
    assert run(SGD(1.0, gradient_accumulation_steps=2, clipvalue=1.0), [5.0, -4.0]) == [0.0, -0.5]
    assert run(SGD(1.0, gradient_accumulation_steps=2, clipnorm=1.0), [5.0, 3.0]) == [0.0, -1.0]
    assert run(SGD(0.5, gradient_accumulation_steps=2, weight_decay=0.1), [1.0, 1.0], weight=2.0) == [2.0, 1.4]  # 2 * 0.95 - 0.5


def test_schedules_count_calls_and_rules_count_updates():
    scheduled = SGD(PiecewiseConstantDecay([2], [1.0, 0.1]), gradient_accumulation_steps=2)
    assert run(scheduled, [1.0] * 4) == [0.0, -1.0, -1.0, -1.1]  # the second update is call number 3
    accumulating, plain = Adam(0.1, gradient_accumulation_steps=2), Adam(0.1)
    assert run(accumulating, [1.0, 1.0, 3.0, 1.0])[1::2] == run(plain, [1.0, 2.0])


def test_a_variable_without_a_gradient_waits_and_loses_what_it_had_gathered():
    optimizer, params = SGD(1.0, gradient_accumulation_steps=2), [torch.zeros(1), torch.zeros(1)]
    one = torch.ones(1)
    optimizer.apply_to(params, [one, one])
    optimizer.apply_to(params, [one, None])
    assert [float(param) for param in params] == [-1.0, 0.0]
    assert not any(sums.any() for sums in optimizer.slots["gradient_accumulator"])


def test_the_average_starts_at_the_first_weights_and_takes_the_place_of_the_last():
    optimizer, param = SGD(1.0, use_ema=True, ema_momentum=0.5), torch.tensor([10.0])
    for _ in range(3):
        optimizer.apply_to([param], [torch.ones(1)])  # weights 9, 8, 7: averages 9, 8.5, 7.75
    assert float(param) == 7.0 and optimizer.slots["average"][0].tolist() == [7.75]
    optimizer.finalize_variable_values([param])
    assert float(param) == 7.75


def test_the_average_can_take_the_weights_place_now_and_then():
    # 9; 8 and average 8.5, which is the weight from here; 7.5 and average 8; 6.5 and average 7.25, the weight again
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    seen = run(optimizer, [1.0] * 4, weight=10.0)
    assert seen == [9.0, 8.5, 7.5, 7.25]


def test_the_average_moves_at_every_call_and_counts_updates():
    # weights 0, -2, -2, -3; the first group sets the average, then it moves half way twice
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2)
    assert run(optimizer, [1.0, 3.0, 1.0, 1.0]) == [0.0, -2.0, -2.0, -3.0]
    assert optimizer.slots["average"][0].tolist() == [-2.5]


def test_an_average_of_nothing_leaves_the_weights_alone():
    optimizer, params = SGD(use_ema=True), [torch.ones(2)]
    optimizer.build(params)
    params[0].fill_(3.0)
    optimizer.finalize_variable_values(params)
    SGD().finalize_variable_values(params)
    assert params[0].tolist() == [3.0, 3.0]


def test_the_average_includes_variables_without_a_gradient():
    optimizer, params = SGD(1.0, use_ema=True, ema_momentum=0.5), [torch.ones(1), torch.ones(1)]
    optimizer.apply_to(params, [torch.ones(1), None])
    assert [float(average) for average in optimizer.slots["average"]] == [0.0, 1.0]


def test_averages_of_other_variables_are_refused():
    optimizer = SGD(use_ema=True)
    optimizer.apply_to([torch.ones(1)], [torch.ones(1)])
    with pytest.raises(ValueError, match="2 variables, but 1 averages"):
        optimizer.finalize_variable_values([torch.ones(1), torch.ones(1)])


def test_a_loss_scale_comes_out_of_the_gradients_before_they_are_clipped():
    optimizer = SGD(1.0, loss_scale_factor=4.0, clipvalue=1.0)
    loss = optimizer.scale_loss(torch.tensor(2.0))
    assert float(loss) == 8.0
    assert run(optimizer, [2.0, 8.0]) == [-0.5, -1.5]
    assert float(SGD().scale_loss(torch.tensor(2.0))) == 2.0


# -- the dynamic scale --------------------------------------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_halves_the_scale_and_skips_the_step():
    optimizer, params = LossScaleOptimizer(Adam(0.1), initial_scale=8.0), [torch.ones(2), torch.ones(1)]
    for bad in (float("inf"), float("nan"), float("-inf")):
        optimizer.apply_to(params, [torch.tensor([1.0, bad]), torch.ones(1)])
    assert optimizer.dynamic_scale == 1.0 and optimizer.iterations == 0
    assert params[0].tolist() == [1.0, 1.0] and not optimizer.slots["velocity"][1].any()


def test_good_steps_in_a_row_double_the_scale():
    optimizer = LossScaleOptimizer(SGD(1.0), initial_scale=4.0, dynamic_growth_steps=2)
    assert run(optimizer, [4.0, 4.0, 8.0, float("nan"), 4.0]) == [-1.0, -2.0, -3.0, -3.0, -4.0]
    assert (optimizer.dynamic_scale, optimizer.step_counter, optimizer.iterations) == (4.0, 1, 4)
    assert float(optimizer.scale_loss(torch.tensor(1.5))) == 6.0


def test_the_scaled_optimizer_answers_for_the_inner_one():
    inner = SGD(0.5, momentum=0.9, use_ema=True, loss_scale_factor=3.0)
    optimizer = LossScaleOptimizer(inner, initial_scale=2.0)
    assert inner.loss_scale_factor is None
    optimizer.learning_rate = 0.25
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    param = torch.zeros(1)
    optimizer.build([param], ["kernel"])
    optimizer.apply_gradients([(torch.tensor([2.0]), param)])
    optimizer.finalize_variable_values([param])
    assert inner.learning_rate == optimizer.learning_rate == 0.25 and not optimizer.has_schedule
    assert optimizer.slots is inner.slots and optimizer.iterations == inner.iterations == optimizer.updates == 1
    assert float(param) == -0.25 and list(optimizer.named_slots(["kernel"])) == ["average/kernel", "momentum/kernel"]


@pytest.mark.parametrize("scaled", [None, "sgd", LossScaleOptimizer(SGD())])
def test_only_another_optimizer_can_be_scaled(scaled):
    with pytest.raises(ValueError, match="inner_optimizer="):
        LossScaleOptimizer(scaled)


def test_arguments_of_the_inner_optimizer_belong_to_it():
    with pytest.raises(ValueError, match="set `clipnorm` on the `inner_optimizer`"):
        LossScaleOptimizer(SGD(), clipnorm=1.0)
    with pytest.raises(ValueError, match="set `loss_scale_factor` on the `inner_optimizer`, and no wrapper"):
        LossScaleOptimizer(SGD(), dynamic=False)
    with pytest.raises(ValueError, match="initial_scale=0"):
        LossScaleOptimizer(SGD(), initial_scale=0)
    assert LossScaleOptimizer(SGD(), clipnorm=None, use_ema=False, ema_momentum=0.99).initial_scale == 2.0**15


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"gradient_accumulation_steps": 1}, "2 or more"),
        ({"gradient_accumulation_steps": 2.0}, "whole number"),
        ({"ema_momentum": 1.5}, r"a number in \[0, 1\]"),
        ({"ema_overwrite_frequency": 0}, "1 or more"),
        ({"loss_scale_factor": 0.0}, r"a number in \(0, inf\)"),
        ({"weight_decay": -0.1}, r"a number in \[0, inf\)"),
        ({"clipnorm": 0.0}, r"a number in \(0, inf\)"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(arguments, expected):
    with pytest.raises(ValueError, match=rf"SGD\({next(iter(arguments))}=.*expected a?.*{expected}"):
        SGD(**arguments)
