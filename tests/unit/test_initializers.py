"""Initializers: moments, bounds, keys."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
from typing import Any

import numpy as np
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


def test_configs_of_keras_with_and_without_axes_are_read():
    config = {"class_name": "GlorotUniform", "config": {"seed": None, "input_axes": None, "output_axes": None}}
    assert isinstance(init.get(config), init.GlorotUniform)
    assert isinstance(init.get({"class_name": "HeNormal", "config": {"seed": 3}}), init.HeNormal)


def test_named_axes_decide_what_counts_as_input_and_output():
    assert init.compute_fans((16, 4, 8), input_axes=[0], output_axes=[1, 2]) == (16, 32)
    limit = math.sqrt(6 / (16 + 32))
    values = init.GlorotUniform(seed=1, input_axes=[0], output_axes=(1, 2))((16, 4, 8))
    assert 0.98 * limit < values.abs().max().item() <= limit
    assert init.get(init.serialize(init.HeUniform(input_axes=[0], output_axes=[-1]))).get_config()["output_axes"] == [-1]


@pytest.mark.parametrize("cls", [cls for cls in init.CLASSES.values() if issubclass(cls, init.RandomInitializer)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_draw_has_the_dtype_asked_for_and_repeats_itself(cls: Any, dtype: torch.dtype):
    draw = cls(seed=5)
    assert draw((4, 3), dtype).dtype is dtype and torch.equal(draw((4, 3), dtype), cls(seed=5)((4, 3), dtype))
    assert draw((4, 3)).is_contiguous()


def test_a_clone_of_a_seeded_initializer_draws_the_same_and_one_without_a_seed_others():
    assert torch.equal(init.RandomNormal(seed=2).clone()((5,)), init.RandomNormal(seed=2)((5,)))
    one = init.RandomNormal()
    assert not torch.equal(one.clone()((5,)), one((5,)))


def test_a_fourier_kernel_by_hand():
    real, imaginary = init.STFT("real", window=None)((4, 1, 3)), init.STFT("imag", window=None)((4, 1, 3))
    turns = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.25, 0.5], [0.0, 0.5, 1.0], [0.0, 0.75, 1.5]])  # of step t at frequency f: t * f / 4
    torch.testing.assert_close(real[:, 0], torch.cos(2 * math.pi * turns), atol=1e-6, rtol=0)
    torch.testing.assert_close(imaginary[:, 0], -torch.sin(2 * math.pi * turns), atol=1e-6, rtol=0)


def test_a_window_multiplies_the_kernel_and_the_scaling_divides_it():
    plain = init.STFT("real", window=[1.0, 2.0, 2.0, 4.0], scaling=None)((4, 1, 3))
    assert plain[:, 0, 0].tolist() == [1.0, 2.0, 2.0, 4.0]
    density, spectrum = (init.STFT("real", [1.0, 2.0, 2.0, 4.0], scaling)((4, 1, 3)) for scaling in ("density", "spectrum"))
    torch.testing.assert_close(density, plain / 5.0)  # sqrt(1 + 4 + 4 + 16)
    torch.testing.assert_close(spectrum, plain / 9.0)
    hann = init.STFT("real", "hann", None, periodic=True)((4, 1, 3))
    torch.testing.assert_close(hann[:, 0, 0], torch.tensor([0.0, 0.5, 1.0, 0.5]))


def test_an_array_comes_back_from_the_config_of_a_constant():
    again = init.get(init.serialize(init.Constant(np.array([1.0, 2.0], dtype="float32"))))
    assert again((2,)).tolist() == [1.0, 2.0]
    keras = {"class_name": "Constant", "config": {"value": {"class_name": "__numpy__", "config": {"value": [3.0], "dtype": "float32"}}}}
    assert init.get(keras)((2, 1)).tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.RandomNormal(stddev=-1.0), r"RandomNormal\(stddev=-1.0\)"),
        (lambda: init.TruncatedNormal(stddev=float("nan")), r"TruncatedNormal\(stddev=nan\)"),
        (lambda: init.RandomUniform(1.0, 0.0), "expected minval <= maxval"),
        (lambda: init.VarianceScaling(0.0), r"scale=0.0"),
        (lambda: init.VarianceScaling(mode="fan"), r"Invalid `mode` argument: 'fan'"),
        (lambda: init.VarianceScaling(distribution="gamma"), r"Invalid `distribution` argument: 'gamma'"),
        (lambda: init.GlorotUniform(seed=1.5), r"GlorotUniform\(seed=1.5\): expected an integer or None"),
        (lambda: init.Identity()((2, 2, 2)), "expected two axes"),
        (lambda: init.Orthogonal()((2,)), "expected two axes or more"),
        (lambda: init.Constant([1.0, 2.0])((3, 2)), r"Constant\(value of shape \(2,\)\)\(shape=\(3, 2\)\)"),
        (lambda: init.STFT("left"), r"side='left'"),
        (lambda: init.STFT(window="han"), r"window='han'\): no such window.\n  expected  one of hann"),
        (lambda: init.STFT(scaling="power"), r"scaling='power'"),
        (lambda: init.STFT()((4, 2, 3)), r"expected \(steps, 1, frequencies\)"),
        (lambda: init.STFT(window=[1.0])((4, 1, 3)), "a value for each of the 4 steps"),
        (lambda: init.Initializer()((1,)), "defines no __call__"),
    ],
)
def test_what_an_initializer_cannot_do_is_refused_by_name(make: Any, message: str):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        make()


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(init.__path__, init.__name__ + ".")])
def test_the_examples_in_the_docstrings_run(name: str):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("identifier", ["glorot", {"class_name": "Glorot"}, 3])
def test_what_is_not_known_is_named(identifier: Any):
    with pytest.raises(ValueError, match=r"initializer="):
        init.get(identifier)
