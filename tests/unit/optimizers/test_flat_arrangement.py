"""One flat tensor gives the same bits as its variables one by one: the runtime may arrange them as it likes."""

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from place_bits import OtherBitsByPlace
from torch import Tensor

from disttrain.optimizers import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    LossScaleOptimizer,
    Muon,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)
from disttrain.training.step.flat import FlatSpace

SHAPES = [(1,), (3,), (2, 4), (3, 5), (16,), (), (17,), (31, 1), (4, 8, 2), (7, 37)]  # full vectors, and tails of every kind
ELEMENTWISE = {
    "SGD": lambda: SGD(0.1),
    "SGD, momentum": lambda: SGD(0.1, momentum=0.9),
    "SGD, nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda: RMSprop(0.1),
    "RMSprop, centered, momentum": lambda: RMSprop(0.1, momentum=0.5, centered=True),
    "Adam": lambda: Adam(0.1),
    "Adam, amsgrad": lambda: Adam(0.1, amsgrad=True),
    "AdamW": lambda: AdamW(0.1, weight_decay=0.1),
    "Adagrad": lambda: Adagrad(0.1),
    "Adadelta": lambda: Adadelta(0.1),
    "Adamax": lambda: Adamax(0.1),
    "Nadam": lambda: Nadam(0.1),
    "Ftrl": lambda: Ftrl(0.1, l1_regularization_strength=0.01, l2_shrinkage_regularization_strength=0.1),
    "Ftrl, power": lambda: Ftrl(0.1, learning_rate_power=-0.3, initial_accumulator_value=0.0),
    "Lion": lambda: Lion(0.1),
    "ScheduleFreeAdamW": lambda: ScheduleFreeAdamW(0.1),
    "SGD, weight decay, clipvalue": lambda: SGD(0.1, weight_decay=0.1, clipvalue=0.5),
    "Adam, average, accumulation": lambda: Adam(0.1, use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=3),
    "SGD, loss scale": lambda: SGD(0.1, momentum=0.9, loss_scale_factor=3.0),
    "dynamic loss scale": lambda: LossScaleOptimizer(Adam(0.1), initial_scale=8.0),
}


def start(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def gradients(step: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


@pytest.fixture(params=["this processor", "any processor"])
def processor(request: pytest.FixtureRequest) -> AbstractContextManager[object]:
    """The one at hand, and one on which whatever depends on the place of a number shows it."""
    return nullcontext() if request.param == "this processor" else OtherBitsByPlace()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_a_flat_arrangement_gives_the_bits_of_its_variables(make, dtype, processor):
    with processor:
        assert_flat_is_one_by_one(make, dtype)


def assert_flat_is_one_by_one(make, dtype):
    one_by_one, params = make(), start(dtype)
    flat, views_of = make(), start(dtype)
    one_by_one.build(params)
    flat.build(views_of)
    space, device = FlatSpace(views_of), torch.device("cpu")
    flat_params = space.gather(views_of, device)
    flat_slots = {slot: space.gather(tensors, device) for slot, tensors in flat.slots.items()}
    for step in range(7):
        one_by_one.apply_to(params, gradients(step, dtype))
        flat.apply_to(flat_params, space.gather(gradients(step, dtype), device), flat_slots)
    assert flat.elementwise and not flat.needs_variables
    assert all(torch.equal(a, b) for a, b in zip(params, views_of, strict=True))
    for slot, tensors in one_by_one.slots.items():
        assert all(torch.equal(a, b) for a, b in zip(tensors, flat.slots[slot], strict=True))
    assert all(torch.isfinite(tensor).all() for tensor in flat_params)  # what lies between the variables included
    one_by_one.finalize_variable_values(params)
    flat.finalize_variable_values(flat_params, flat_slots)
    assert all(torch.equal(a, b) for a, b in zip(params, views_of, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("make", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_threads_that_share_a_variable_change_no_bit(make, threads, processor):
    """Each takes a part that ends where the length of the whole says."""
    values, slopes = (torch.randn(100_003, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    whole, parts = [values.clone()], [part.clone() for part in values.split(9_973)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with processor:
            for params, grads in ((whole, [slopes]), (parts, list(slopes.split(9_973)))):
                optimizer = make()
                for _ in range(2):
                    optimizer.apply_to(params, grads)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.cat(parts), whole[0])


class Squashed(SGD):
    """A rule that takes no care of the ends of tensors."""

    def update(self, params, grads, slots, step, learning_rate):
        torch._foreach_add_(params, torch._foreach_sigmoid(grads), alpha=-learning_rate)


def test_a_rule_that_takes_no_care_of_the_ends_of_tensors_is_found_out_on_any_processor():
    with OtherBitsByPlace() as processor, pytest.raises(AssertionError):
        assert_flat_is_one_by_one(lambda: Squashed(0.1), torch.float32)
    assert processor.ends > 0


@pytest.mark.parametrize("make", [Lamb, Adafactor, Muon])
def test_rules_over_whole_variables_say_that_they_need_them(make):
    assert not make().elementwise and make().needs_variables
    assert not LossScaleOptimizer(make()).elementwise


def test_what_treats_variables_differently_needs_them_one_by_one():
    excluding = AdamW(0.1)
    excluding.exclude_from_weight_decay(var_names=["bias"])
    assert excluding.needs_variables and Adam(clipnorm=1.0).needs_variables and Adam(global_clipnorm=1.0).needs_variables
    assert not Adam(clipvalue=1.0, use_ema=True, gradient_accumulation_steps=2).needs_variables


@pytest.mark.parametrize("make", [lambda: Adafactor(0.1), lambda: Muon(0.1)], ids=["Adafactor", "Muon"])
def test_slots_that_are_smaller_than_their_variable_may_be_spread_over_it(make):
    """A runtime with one arrangement for all slots repeats them over the variable's shape."""
    small, params = make(), start(torch.float32)
    spread, twins = make(), start(torch.float32)
    small.build(params)
    spread.build(twins)
    space = FlatSpace(twins)
    for tensors in spread.slots.values():
        space.gather(tensors, torch.device("cpu"))
    for step in range(4):
        small.apply_to(params, gradients(step, torch.float32))
        spread.apply_to(twins, gradients(step, torch.float32))
    assert all(torch.equal(a, b) for a, b in zip(params, twins, strict=True))
    kept, again = small.keras_variables(), spread.keras_variables()
    assert [a.shape for a in kept] == [b.shape for b in again]
    assert all((a == b).all() for a, b in zip(kept, again, strict=True))
