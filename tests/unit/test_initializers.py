"""Initializers: moments, bounds, keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from disttrain import initializers as init
from disttrain.seeds import set_random_seed


@pytest.mark.parametrize(("shape", "fans"), [((), (1, 1)), ((5,), (5, 5)), ((3, 4), (3, 4)), ((3, 3, 16, 32), (144, 288))])
def test_fans_by_hand(shape: Any, fans: Any):
    assert init.compute_fans(shape) == fans


@pytest.mark.parametrize(
    ("name", "stddev", "limit"),
    [
        ("glorot_uniform", math.sqrt(2 / 500), math.sqrt(6 / 500)),
        ("glorot_normal", math.sqrt(2 / 500), 2 * math.sqrt(2 / 500) / 0.8796),
        ("he_uniform", math.sqrt(2 / 300), math.sqrt(6 / 300)),
        ("he_normal", math.sqrt(2 / 300), 2 * math.sqrt(2 / 300) / 0.8796),
        ("lecun_uniform", math.sqrt(1 / 300), math.sqrt(3 / 300)),
        ("lecun_normal", math.sqrt(1 / 300), 2 * math.sqrt(1 / 300) / 0.8796),
        ("normal", 0.05, math.inf),
        ("uniform", 0.1 / math.sqrt(12), 0.05),
        ("truncated_normal", 0.05 * 0.8796, 0.1),
    ],
)
def test_the_spread_is_that_of_the_formula(name: str, stddev: float, limit: float):
    values = init.get(name)((300, 200))
    assert values.std().item() == pytest.approx(stddev, rel=0.02) and abs(values.mean().item()) < 0.02 * stddev
    assert values.abs().max().item() <= limit * 1.0001


def test_an_instance_repeats_itself_and_two_of_one_name_differ():
    one, two = init.GlorotUniform(), init.GlorotUniform()
    assert torch.equal(one((3, 3)), one((3, 3))) and not torch.equal(one((3, 3)), two((3, 3)))
    assert torch.equal(init.HeNormal(seed=1)((3, 3)), init.HeNormal(seed=1)((3, 3)))


def test_the_process_seed_decides_and_torch_s_generator_does_not():
    set_random_seed(3)
    one = init.GlorotUniform()((3, 3))
    set_random_seed(3)
    torch.rand(5)
    assert torch.equal(init.GlorotUniform()((3, 3)), one)
    set_random_seed(0)


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (2, 2, 3, 5)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape: Any):
    q = init.Orthogonal(gain=2.0)(shape).reshape(-1, shape[-1])
    q = q if q.shape[0] <= q.shape[1] else q.t()
    torch.testing.assert_close(q @ q.t(), 4 * torch.eye(q.shape[0]), atol=1e-5, rtol=1e-5)


def test_constants_and_the_identity():
    assert init.Constant(3)((2,)).tolist() == [3.0, 3.0] and init.get(torch.tensor([1, 2]))((2,)).tolist() == [1.0, 2.0]
    assert init.Identity(2)((2, 2)).tolist() == [[2.0, 0.0], [0.0, 2.0]] and init.Ones()((1,), torch.float64).dtype is torch.float64


@pytest.mark.parametrize("cls", init.CLASSES.values())
def test_a_config_makes_the_same_initializer(cls: Any):
    made = cls()
    again = init.get(init.serialize(made))
    assert type(again) is cls and again.get_config() == made.get_config()


def test_configs_of_keras_with_axes_are_read():
    config = {"class_name": "GlorotUniform", "config": {"seed": None, "input_axes": None, "output_axes": None}}
    assert isinstance(init.get(config), init.GlorotUniform)


@pytest.mark.parametrize("identifier", ["glorot", {"class_name": "Glorot"}, 3])
def test_what_is_not_known_is_named(identifier: Any):
    with pytest.raises(ValueError, match=r"initializer="):
        init.get(identifier)
