"""Slots and `state_dict` are all that a checkpoint needs: a resumed optimizer gives the same bits."""

import copy
import json
import pickle

import pytest
import torch
from torch import Tensor

from disttrain import optimizers
from disttrain.optimizers import Adam, LossScaleOptimizer, MultiOptimizer, Nadam
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.schedules import CosineDecayRestarts

NAMES = ["kernel", "bias", "table", "scalar"]
COMMON = {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2, "gradient_accumulation_steps": 3, "weight_decay": 0.1}
RULES = {name: cls for name, cls in sorted(optimizers.BY_NAME.items()) if cls not in (LossScaleOptimizer, MultiOptimizer)}
MORE = {"sgd": {"momentum": 0.9}, "rmsprop": {"momentum": 0.5, "centered": True}, "adam": {"amsgrad": True}}


def make(name: str) -> Optimizer:
    return RULES[name](CosineDecayRestarts(0.1, 4), **COMMON, **MORE.get(name, {}))  # type: ignore[arg-type]


def scaled() -> Optimizer:
    return LossScaleOptimizer(Adam(0.1, gradient_accumulation_steps=2, use_ema=True), initial_scale=4.0, dynamic_growth_steps=3)


MAKERS = {**{name: (lambda name=name: make(name)) for name in RULES}, "lossscaleoptimizer": scaled}


def variables() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator) for shape in [(3, 4), (4,), (2, 3, 2), ()]]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(50 + step)
    return [torch.randn(shape, generator=generator) for shape in [(3, 4), (4,), (2, 3, 2), ()]]


@pytest.mark.parametrize("name", MAKERS)
def test_a_checkpoint_at_any_call_resumes_with_the_same_bits(name):
    make, calls = MAKERS[name], 8
    straight, params = make(), variables()
    straight.build(params, NAMES)
    checkpoints = []
    for step in range(calls):
        slots = {key: tensor.clone() for key, tensor in straight.named_slots(NAMES).items()}
        checkpoints.append((json.dumps(straight.state_dict()), slots, copy.deepcopy(params)))
        straight.apply_to(params, gradients(step))
    straight.finalize_variable_values(params)
    for begin, (state, slots, again) in enumerate(checkpoints):
        resumed = make()
        resumed.build(again, NAMES)
        resumed.load_state_dict(json.loads(state))
        for key, tensor in resumed.named_slots(NAMES).items():
            tensor.copy_(slots[key])
        for step in range(begin, calls):
            resumed.apply_to(again, gradients(step))
        resumed.finalize_variable_values(again)
        assert all(torch.equal(a, b) for a, b in zip(params, again, strict=True)), f"resumed before call {begin}"


@pytest.mark.parametrize("name", MAKERS)
def test_the_variables_of_a_file_carry_the_state_too(name):
    """Numbers such as the learning rate are float32 there, so this comes near, not to the bit."""
    straight, params = MAKERS[name](), variables()
    for step in range(4):
        straight.apply_to(params, gradients(step))
    kept, again = straight.keras_variables(), copy.deepcopy(params)
    resumed = MAKERS[name]()
    resumed.set_keras_variables(again, kept)
    for step in range(4, 8):
        straight.apply_to(params, gradients(step))
        resumed.apply_to(again, gradients(step))
    for a, b in zip(params, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_optimizers_travel_by_pickle_and_copy(name):
    straight, params = MAKERS[name](), variables()
    straight.build(params, NAMES)
    for step in range(2):
        straight.apply_to(params, gradients(step))
    travelled, copied = pickle.loads(pickle.dumps(straight)), copy.deepcopy(straight)
    ends = []
    for optimizer in (straight, travelled, copied):
        own = copy.deepcopy(params)
        for step in range(2, 5):
            optimizer.apply_to(own, gradients(step))
        ends.append(own)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*ends, strict=True))


def test_nadams_product_is_part_of_its_state():
    optimizer = Nadam()
    optimizer.apply_to([torch.ones(1)], [torch.ones(1)])
    assert optimizer.state_dict()["u_product"] == pytest.approx(0.9 * (1 - 0.48))
