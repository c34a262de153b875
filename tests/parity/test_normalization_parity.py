"""Normalization layers beside Keras's, over shapes, axes, arguments, masks and precisions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer, build_pair

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context

sizes = st.integers(1, 4)
flags = st.booleans()


def drawn(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 2 + 0.5).astype("float32")


def quarters(seed: int, *shape: int) -> np.ndarray:
    """Values that are alike or 0.25 apart at least: of a few that nearly agree, rounding alone would decide the normalized ones."""
    return (np.random.default_rng(seed).integers(-8, 12, shape) / 4).astype("float32")


def settings_of(regularizer: Any) -> dict[str, Any]:
    return {"beta_regularizer": regularizer, "gamma_regularizer": regularizer, "gamma_constraint": "non_neg"}


@settings(max_examples=40)
@given(
    shape=st.lists(sizes, min_size=2, max_size=5),
    back=st.integers(1, 4),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    epsilon=st.sampled_from([1e-3, 0.1, 2.0]),
    center=flags,
    scale=flags,
    regularizer=st.sampled_from([None, "l2"]),
    seed=st.integers(0, 99),
)
def test_batch_normalization_over_ranks_axes_and_arguments(
    shape: Any, back: int, momentum: float, epsilon: float, center: bool, scale: bool, regularizer: Any, seed: int
):
    axis = max(-back, 1 - len(shape))
    arguments = {"center": center, "scale": scale, **settings_of(regularizer)}
    assert_same_layer(lambda N: N.BatchNormalization(axis, momentum, epsilon, **arguments), quarters(seed, *shape), tolerance=2e-5)


@settings(max_examples=25)
@given(shape=st.lists(st.integers(2, 4), min_size=2, max_size=4), center=flags, scale=flags, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_batch_normalization_under_a_mask(shape: Any, center: bool, scale: bool, share: float, seed: int):
    mask = np.random.default_rng(seed).random(shape[:-1]) < share  # also with no step, and with all of them
    assert_same_layer(lambda N: N.BatchNormalization(center=center, scale=scale), quarters(seed, *shape), {"mask": mask}, tolerance=2e-5)


@settings(max_examples=30)
@given(
    shape=st.lists(sizes, min_size=2, max_size=4),
    last=sizes,
    epsilon=st.sampled_from([1e-3, 0.1]),
    center=flags,
    scale=flags,
    regularizer=st.sampled_from([None, "l1"]),
    seed=st.integers(0, 99),
)
def test_layer_normalization_over_the_last_axes(
    shape: Any, last: int, epsilon: float, center: bool, scale: bool, regularizer: Any, seed: int
):
    axis = [-1 - number for number in range(min(last, len(shape) - 1))] if last > 1 else -1
    arguments = {"center": center, "scale": scale, **settings_of(regularizer)}
    assert_same_layer(lambda N: N.LayerNormalization(axis, epsilon, **arguments), quarters(seed, *shape), tolerance=2e-5)


@settings(max_examples=15)
@given(
    shape=st.lists(sizes, min_size=4, max_size=4), axes=st.sampled_from([[1, 3], [3, 1], [-1, -3]]), center=flags, seed=st.integers(0, 99)
)
def test_layer_normalization_over_axes_apart(shape: Any, axes: Any, center: bool, seed: int):
    assert_same_layer(lambda N: N.LayerNormalization(axes, center=center), quarters(seed, *shape), tolerance=2e-5)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")
@settings(max_examples=15)
@given(shape=st.lists(sizes, min_size=3, max_size=4), axis=st.sampled_from([-1, [1], [1, 2], 2]), scale=flags, seed=st.integers(0, 99))
def test_layer_normalization_by_the_variance_alone(shape: Any, axis: Any, scale: bool, seed: int):
    assert_same_layer(lambda N: N.LayerNormalization(axis, scale=scale, rms_scaling=True), quarters(seed, *shape), tolerance=2e-5)


@settings(max_examples=30)
@given(
    shape=st.lists(sizes, min_size=1, max_size=4),
    place=st.integers(1, 4),
    groups=st.sampled_from([1, 2, 3, -1]),
    each=st.integers(1, 3),
    center=flags,
    scale=flags,
    regularizer=st.sampled_from([None, "l2"]),
    seed=st.integers(0, 99),
)
def test_group_normalization_over_ranks_axes_and_groups(
    shape: Any, place: int, groups: int, each: int, center: bool, scale: bool, regularizer: Any, seed: int
):
    place = min(place, len(shape))
    shape = [*shape[:place], abs(groups) * each, *shape[place:]]
    axis = -1 if place == len(shape) - 1 and seed % 2 else place
    arguments = {"center": center, "scale": scale, **settings_of(regularizer)}
    assert_same_layer(lambda N: N.GroupNormalization(groups, axis, **arguments), quarters(seed, *shape), tolerance=2e-5)


@settings(max_examples=20)
@given(shape=st.lists(sizes, min_size=2, max_size=4), several=flags, epsilon=st.sampled_from([1e-6, 0.1]), seed=st.integers(0, 99))
def test_rms_normalization_over_the_last_axes(shape: Any, several: bool, epsilon: float, seed: int):
    axis = [-1, -2] if several and len(shape) > 2 else -1
    assert_same_layer(lambda N: N.RMSNormalization(axis, epsilon), drawn(seed, *shape))


@settings(max_examples=20)
@given(shape=st.lists(sizes, min_size=2, max_size=4), axis=st.sampled_from([-1, 1, [1], [-1, 1]]), seed=st.integers(0, 99))
def test_unit_normalization_over_axes(shape: Any, axis: Any, seed: int):
    axis = -1 if len(shape) == 2 else axis
    assert_same_layer(lambda N: N.UnitNormalization(axis), drawn(seed, *shape))


WRAPPED = {
    "Dense": (lambda N: N.Dense(3, "tanh"), (4, 5)),
    "Conv1D": (lambda N: N.Conv1D(3, 2, bias_constraint="non_neg"), (2, 4, 3)),
    "Conv2DTranspose": (lambda N: N.Conv2DTranspose(2, 2), (2, 3, 4, 3)),
    "DepthwiseConv2D": (lambda N: N.DepthwiseConv2D(2), (2, 3, 4, 3)),
    "EinsumDense": (lambda N: N.EinsumDense("abc,cd->abd", (None, 3)), (2, 4, 3)),
}


def test_the_norm_of_halves_does_not_overflow_as_in_keras():
    x = torch.full((1, 4), 200.0)
    ours, theirs = (N.UnitNormalization(dtype="mixed_float16")(x) for N in (L, keras.layers))
    assert ours.tolist() == [[0.5] * 4] and ours.dtype is torch.float16
    assert theirs.tolist() == [[0.0] * 4]  # keras 3.15: 4 * 200^2 is more than the largest half, 65504


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_normalization_around_layers_with_a_kernel(name: str, iterations: int):
    make, shape = WRAPPED[name]
    assert_same_layer(lambda N: N.SpectralNormalization(make(N), iterations), drawn(1, *shape))


def test_training_with_spectral_normalization_goes_the_way_of_keras():
    x = drawn(1, 8, 5)
    ours, theirs = build_pair(lambda N: N.SpectralNormalization(N.Dense(3, kernel_constraint="non_neg")), [x])
    with torch.no_grad():  # from a kernel such as every update leaves it
        ours.kernel.copy_(ours._constraints["kernel"](ours.kernel))
    theirs.kernel.assign(ours.kernel.detach())
    mine, other = torch.optim.SGD(ours.trainable_weights, lr=0.2), torch.optim.SGD([w.value for w in theirs.trainable_weights], lr=0.2)
    for _ in range(5):
        with call_context(CallContext(training=True, key=1)):
            one = ours(torch.tensor(x))
        two = theirs(x, training=True)
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.vector_u, theirs.vector_u.value.detach(), rtol=1e-5, atol=1e-5)
        for loss, optimizer in ((one.square().sum() / 8, mine), (two.square().sum() / 8, other)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():  # as the runtimes of both do
            ours.kernel.copy_(ours._constraints["kernel"](ours.kernel))
            theirs.kernel.assign(theirs.kernel.constraint(theirs.kernel.value))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize(
    "make",
    [
        lambda N, p: N.BatchNormalization(dtype=p),
        lambda N, p: N.BatchNormalization(center=False, scale=False, dtype=p),
        lambda N, p: N.BatchNormalization(scale=False, dtype=p),
        lambda N, p: N.LayerNormalization(dtype=p),
        lambda N, p: N.GroupNormalization(2, dtype=p),
        lambda N, p: N.RMSNormalization(dtype=p),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_reduced_precision_rounds_where_keras_rounds(make: Any, policy: str, training: bool):
    x = torch.tensor(drawn(2, 3, 4, 5, 4) * 40)
    ours, theirs = make(L, policy), make(keras.layers, policy)
    mine = ours(x, training=training) if ours._signature.takes_training else ours(x)
    other = theirs(x, training=training) if theirs._call_has_training_arg else theirs(x)
    assert mine.dtype is other.dtype
    step = 2**-7 if other.dtype is torch.bfloat16 else 2**-10  # a step or two of the result's own dtype
    torch.testing.assert_close(mine.float(), other.float(), rtol=2 * step, atol=step)
    for one, two in zip(ours.weights, theirs.weights, strict=True):
        assert one.dtype is two.value.dtype
        torch.testing.assert_close(one.float(), two.value.detach().float(), rtol=1e-5 if one.dtype is torch.float32 else 2**-7, atol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{}, {"renorm_clipping": {"rmax": 1.2, "rmin": 0.8, "dmax": 0.5}, "renorm_momentum": 0.5}, {"scale": False}]
)
@pytest.mark.parametrize("masked", [False, True])
def test_batch_renormalization_goes_the_way_of_keras(arguments: dict[str, Any], masked: bool):
    ours, theirs = build_pair(lambda N: N.BatchNormalization(renorm=True, momentum=0.9, **arguments), [quarters(9, 4, 5, 3)])
    values = [np.abs(weight) for weight in ours.get_weights()]  # a deviation is no negative number
    ours.set_weights(values)
    for weight, value in zip(theirs.weights, values, strict=True):
        weight.assign(value)
    for step in range(4):
        x = quarters(step, 4, 5, 3) + step
        mask = {"mask": np.arange(20).reshape(4, 5) % 3 > 0} if masked else {}
        expected, found = theirs(x, training=True, **mask), ours(x, training=True, **{k: torch.as_tensor(v) for k, v in mask.items()})
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=2e-5)
    for weight, wanted in zip(ours.get_weights(), theirs.weights, strict=True):
        np.testing.assert_allclose(weight, wanted.value.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(ours(x).detach().numpy(), theirs(x).detach().numpy(), atol=5e-5)
    assert ours.get_config()["renorm_clipping"] == theirs.get_config()["renorm_clipping"]
