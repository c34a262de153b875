"""Activations, initializers, regularizers and constraints beside those of Keras: values, gradients, configs and names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disttrain import activations, constraints, initializers, regularizers
from disttrain.initializers.stft import WINDOWS

CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # float32, a few operations in another order
SHAPES = st.lists(st.integers(1, 5), max_size=3).flatmap(lambda sizes: st.integers(2, 5).map(lambda last: (*sizes, last)))
SEEDS = st.integers(0, 2**20)


def drawn(shape: tuple[int, ...], seed: int, scale: float = 2.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def value_and_gradient(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """`fn(x)`, and the gradient of a sum of its values that weighs each differently."""
    x = x.detach().clone().requires_grad_()
    y = fn(x)
    (y * torch.linspace(1.0, 2.0, y.numel()).view(y.shape)).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


def assert_same(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], x: Tensor) -> None:
    for got, want in zip(value_and_gradient(ours, x), value_and_gradient(theirs, x), strict=True):
        torch.testing.assert_close(got, want, **CLOSE)


# -- activations --------------------------------------------------------------------------------------------------------------------------

PLAIN = sorted(set(activations.BY_NAME) - {"glu", "threshold", "sparsemax"})


def test_every_name_of_keras_is_known():
    assert set(keras.src.activations.ALL_OBJECTS_DICT) == set(activations.BY_NAME)


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=10)
@given(shape=SHAPES, seed=SEEDS)
def test_an_activation_by_name(name: str, shape: tuple[int, ...], seed: int):
    assert_same(activations.get(name), keras.activations.get(name), drawn(shape, seed))


NUMBERS = st.floats(0.125, 3.0, width=32)
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "celu": {"alpha": NUMBERS},
    "elu": {"alpha": NUMBERS},
    "gelu": {"approximate": st.booleans()},
    "hard_shrink": {"threshold": NUMBERS},
    "leaky_relu": {"negative_slope": NUMBERS},
    "log_softmax": {"axis": st.integers(-2, 1)},
    "relu": {
        "negative_slope": st.sampled_from([0.0, 0.3]),
        "max_value": st.sampled_from([None, 0.5, 1.5, 6.0]),
        "threshold": st.sampled_from([0.0, 0.25, 1.0]),
    },
    "soft_shrink": {"threshold": NUMBERS},
    "softmax": {"axis": st.sampled_from([-1, 0, 1, -2, (0, 1), (1, 2), (0, 1, 2)])},
    "squareplus": {"b": NUMBERS},
    "threshold": {"threshold": NUMBERS, "default_value": NUMBERS},
}


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
@settings(max_examples=15)
@given(data=st.data(), seed=SEEDS)
def test_the_arguments_of_an_activation(name: str, data: st.DataObject, seed: int):
    arguments = data.draw(st.fixed_dictionaries(ARGUMENTS[name]))
    ours, theirs = getattr(activations, name), getattr(keras.activations, name)
    assert_same(lambda x: ours(x, **arguments), lambda x: theirs(x, **arguments), drawn((3, 4, 2), seed))


@settings(max_examples=15)
@given(axis=st.integers(-3, 2), seed=SEEDS)
def test_glu_halves_any_axis(axis: int, seed: int):
    x = drawn((2, 4, 6), seed)
    assert_same(lambda x: activations.glu(x, axis), lambda x: keras.activations.glu(x, axis), x)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_sparsemax_where_one_value_wins(seed: int):
    """Keras sums the sums of its support: with more than one value in it the result does not sum to 1. With one, both agree."""
    x = drawn((3, 4), seed, 0.1)
    x[:, 1] += 3.0
    torch.testing.assert_close(activations.sparsemax(x), keras.activations.sparsemax(x), **CLOSE)


@pytest.mark.parametrize("name", [name for name in sorted(activations.BY_NAME) if name not in ("hard_swish", "swish")])
def test_the_config_of_an_activation_reads_on_both_sides(name: str):
    written = keras.activations.serialize(getattr(keras.activations, name))
    assert activations.get(written) is getattr(activations, name)
    assert activations.serialize(getattr(activations, name)) == written


# -- initializers -------------------------------------------------------------------------------------------------------------------------


def test_every_initializer_s_name_of_keras_is_known():
    theirs = set(keras.src.initializers.ALL_OBJECTS_DICT) - {"Initializer", "initializer"}
    assert theirs == set(initializers.CLASSES) | set(initializers.BY_NAME)
    assert [name for name in dir(keras.initializers) if name[0] != "_" and name != "deserialize" and not hasattr(initializers, name)] == []


@pytest.mark.parametrize("name", sorted(initializers.CLASSES))
def test_an_initializer_s_config_reads_on_both_sides(name: str):
    ours, theirs = initializers.CLASSES[name](), getattr(keras.initializers, name)()
    written = keras.initializers.serialize(theirs)
    if name == "Identity":
        written["config"] = {"gain": 1.0}  # which Keras forgets to write, and reads
    assert initializers.serialize(ours) == written
    assert type(initializers.get(keras.initializers.serialize(theirs))) is type(ours)
    assert type(keras.initializers.get(initializers.serialize(ours))) is type(theirs)


RANDOM = sorted(name for name, cls in initializers.CLASSES.items() if issubclass(cls, initializers.RandomInitializer))
DRAWS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in RANDOM if name != "Orthogonal"),
    ("RandomNormal", {"mean": 1.0, "stddev": 2.0}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 0.5}),
    ("RandomUniform", {"minval": 1.0, "maxval": 3.0}),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_out", "distribution": "uniform"}),
    ("VarianceScaling", {"scale": 0.5, "mode": "fan_avg", "distribution": "untruncated_normal"}),
    ("VarianceScaling", {"mode": "fan_avg", "distribution": "normal"}),
    ("GlorotUniform", {"input_axes": [1], "output_axes": [0]}),
]


@pytest.mark.parametrize(("name", "arguments"), DRAWS, ids=str)
@pytest.mark.parametrize("shape", [(5000,), (200, 100), (3, 3, 40, 30)], ids=str)
def test_a_draw_has_the_moments_and_bounds_of_keras_s(name: str, arguments: dict[str, Any], shape: tuple[int, ...]):
    shape = shape if len(shape) > 1 or "input_axes" not in arguments else (70, 71)
    ours = initializers.CLASSES[name](seed=7, **arguments)(shape)
    theirs = getattr(keras.initializers, name)(seed=7, **arguments)(shape)
    spread, error = theirs.std().item(), 6.0 / math.sqrt(ours.numel())
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert abs(ours.mean().item() - theirs.mean().item()) < error * spread
    assert abs(ours.std().item() / spread - 1.0) < error
    if "Uniform" in name or arguments.get("distribution") == "uniform":
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.01)


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (3, 2, 5)])
def test_orthogonal_is_orthogonal_along_the_axis_that_keras_s_is(shape: tuple[int, ...]):
    for made in (initializers.Orthogonal(gain=2.0, seed=1)(shape), keras.initializers.Orthogonal(gain=2.0, seed=1)(shape)):
        q = made.reshape(-1, shape[-1])
        product = q @ q.t() if q.shape[0] < q.shape[1] else q.t() @ q
        torch.testing.assert_close(product, 4.0 * torch.eye(len(product)), rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(
    side=st.sampled_from(["real", "imag"]),
    window=st.sampled_from([None, *WINDOWS]),
    scaling=st.sampled_from(["density", "spectrum", None]),
    periodic=st.booleans(),
    steps=st.integers(3, 12),
    frequencies=st.integers(2, 9),
)
def test_stft_gives_the_kernel_of_keras(side: str, window: str | None, scaling: str | None, periodic: bool, steps: int, frequencies: int):
    ours = initializers.STFT(side, window, scaling, periodic)((steps, 1, frequencies))
    theirs = keras.initializers.STFT(side, window, scaling, periodic)((steps, 1, frequencies))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(shape=SHAPES, value=st.floats(-2, 2, width=32))
def test_constants_are_those_of_keras(shape: tuple[int, ...], value: float):
    for name, arguments in [("Zeros", ()), ("Ones", ()), ("Constant", (value,))]:
        torch.testing.assert_close(initializers.CLASSES[name](*arguments)(shape), getattr(keras.initializers, name)(*arguments)(shape))
    if len(shape) == 2:
        torch.testing.assert_close(initializers.Identity(value)(shape), keras.initializers.Identity(value)(shape))


# -- regularizers -------------------------------------------------------------------------------------------------------------------------

FACTORS = st.floats(0.125, 2.0, width=32)
PENALTIES = st.one_of(
    st.tuples(st.sampled_from(["L1", "L2"]), st.tuples(FACTORS)),
    st.tuples(st.just("L1L2"), st.tuples(FACTORS, FACTORS)),
    st.tuples(st.just("OrthogonalRegularizer"), st.tuples(FACTORS, st.sampled_from(["rows", "columns"]))),
)


@settings(max_examples=40)
@given(penalty=PENALTIES, shape=st.tuples(st.integers(2, 5), st.integers(2, 5)), seed=SEEDS)
def test_a_penalty_and_its_gradient(penalty: tuple[str, tuple[Any, ...]], shape: tuple[int, int], seed: int):
    name, arguments = penalty
    assert_same(regularizers.CLASSES[name](*arguments), getattr(keras.regularizers, name)(*arguments), drawn(shape, seed))


@pytest.mark.parametrize("name", sorted(regularizers.CLASSES))
def test_a_regularizer_s_config_and_names(name: str):
    ours, theirs = regularizers.CLASSES[name](), getattr(keras.regularizers, name)()
    mine, other = regularizers.serialize(ours), keras.regularizers.serialize(theirs)
    assert {**mine, "config": None} == {**other, "config": None}
    assert {k: v if isinstance(v, str) else pytest.approx(v) for k, v in mine["config"].items()} == other["config"]  # Keras keeps float32
    assert type(regularizers.get(other)) is type(ours) and type(keras.regularizers.get(mine)) is type(theirs)


def test_every_regularizer_s_name_of_keras_is_known():
    theirs = set(keras.src.regularizers.ALL_OBJECTS_DICT) - {"Regularizer", "regularizer"}
    assert theirs <= set(regularizers.CLASSES) | set(regularizers.BY_NAME)
    assert [name for name in dir(keras.regularizers) if name[0] != "_" and name != "deserialize" and not hasattr(regularizers, name)] == []


# -- constraints --------------------------------------------------------------------------------------------------------------------------

AXES = st.sampled_from([0, 1, -1, [0, 1], [0, 1, 2]])
BOUNDS = st.floats(0.0, 4.0, width=32)
PROJECTIONS = st.one_of(
    st.tuples(st.just("MaxNorm"), st.fixed_dictionaries({"max_value": BOUNDS, "axis": AXES})),
    st.tuples(st.just("UnitNorm"), st.fixed_dictionaries({"axis": AXES})),
    st.tuples(st.just("NonNeg"), st.just({})),
    st.tuples(
        st.just("MinMaxNorm"),
        st.fixed_dictionaries({"min_value": st.floats(0.0, 1.0, width=32), "max_value": st.floats(1.0, 4.0, width=32), "axis": AXES})
        | st.fixed_dictionaries({"rate": st.floats(0.0, 1.0, width=32)}),
    ),
)


@settings(max_examples=40)
@given(projection=PROJECTIONS, seed=SEEDS)
def test_a_constraint(projection: tuple[str, dict[str, Any]], seed: int):
    name, arguments = projection
    weight = drawn((3, 2, 4), seed)
    ours, theirs = constraints.CLASSES[name](**arguments), getattr(keras.constraints, name)(**arguments)
    torch.testing.assert_close(ours(weight), theirs(weight), **CLOSE)
    assert constraints.serialize(ours) == keras.constraints.serialize(theirs)
    assert type(constraints.get(keras.constraints.serialize(theirs))) is type(ours)


def test_every_constraint_s_name_of_keras_is_known():
    assert set(keras.src.constraints.ALL_OBJECTS_DICT) == set(constraints.CLASSES) | set(constraints.BY_NAME)
    for name, cls in constraints.BY_NAME.items():
        assert type(constraints.get(name)) is cls and re.sub("_", "", name) == cls.__name__.lower()
    assert [name for name in dir(keras.constraints) if name[0] != "_" and name != "deserialize" and not hasattr(constraints, name)] == []


def test_arrays_are_initializers_on_both_sides():
    array = np.arange(6.0, dtype="float32").reshape(2, 3)
    assert initializers.get(array)((2, 3)).tolist() == keras.initializers.get(array)((2, 3)).tolist()
    for get in (initializers.get, keras.initializers.get):
        with pytest.raises(ValueError, match="shape"):
            get(array)((3, 2))
