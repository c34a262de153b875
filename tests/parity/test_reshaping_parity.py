"""Reshaping and merging beside Keras's over sizes and arguments; masks of merging layers; cubic up-sampling beside its formula."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer

from disttrain import layers as L

RANKS = st.integers(1, 3)
FORMATS = st.sampled_from(["channels_last", "channels_first"])
SMALL = st.integers(0, 2)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def margins(data: st.DataObject, rank: int) -> Any:
    """One number, one for each axis, or a pair for each axis, as the layer over `rank` axes takes them."""
    if rank == 1:
        return data.draw(st.one_of(SMALL, st.tuples(SMALL, SMALL)))
    return data.draw(st.one_of(SMALL, st.tuples(*[SMALL] * rank), st.tuples(*[st.tuples(SMALL, SMALL)] * rank)))


@settings(max_examples=25)
@given(RANKS, FORMATS, st.data())
def test_cropping_is_that_of_keras(rank: int, data_format: str, data: st.DataObject):
    cropping = margins(data, rank)
    options = {} if rank == 1 else {"data_format": data_format}
    inputs = numbers(*data.draw(st.tuples(*[st.integers(5, 6)] * (rank + 2))))
    assert_same_layer(lambda L: getattr(L, f"Cropping{rank}D")(cropping, **options), inputs)


@settings(max_examples=25)
@given(RANKS, FORMATS, st.data())
def test_zero_padding_is_that_of_keras(rank: int, data_format: str, data: st.DataObject):
    padding = margins(data, rank)
    inputs = numbers(*data.draw(st.tuples(*[st.integers(1, 3)] * (rank + 2))))
    assert_same_layer(lambda L: getattr(L, f"ZeroPadding{rank}D")(padding, data_format), inputs)


@settings(max_examples=25)
@given(RANKS, FORMATS, st.data())
def test_repeating_up_sampling_is_that_of_keras(rank: int, data_format: str, data: st.DataObject):
    size = data.draw(st.integers(1, 3) if rank == 1 else st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * rank)))
    options = {} if rank == 1 else {"data_format": data_format}
    inputs = numbers(*data.draw(st.tuples(*[st.integers(1, 3)] * (rank + 2))))
    assert_same_layer(lambda L: getattr(L, f"UpSampling{rank}D")(size, **options), inputs)


@settings(max_examples=20)
@given(FORMATS, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(*[st.integers(1, 5)] * 4))
def test_bilinear_up_sampling_is_that_of_keras(data_format: str, size: tuple[int, int], shape: tuple[int, ...]):
    assert_same_layer(lambda L: L.UpSampling2D(size, data_format, "bilinear"), numbers(*shape))


def cubic_matrix(size: int, factor: int) -> np.ndarray:
    """(size * factor, size): weights of Keys's cubic kernel with a = -0.5 at half-pixel centres, each row scaled to sum 1."""

    def kernel(x: float) -> float:
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    rows = np.array([[kernel((i + 0.5) / factor - 0.5 - j) for j in range(size)] for i in range(size * factor)])
    return rows / rows.sum(1, keepdims=True)


@settings(max_examples=25)
@given(st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_bicubic_up_sampling_follows_the_formula_of_tensorflow_and_jax(factors: tuple[int, int], sizes: tuple[int, int]):
    inputs = numbers(2, *sizes, 3)
    rows, columns = (cubic_matrix(size, factor) for size, factor in zip(sizes, factors, strict=True))

    result = L.UpSampling2D(factors, interpolation="bicubic")(torch.from_numpy(inputs))

    np.testing.assert_allclose(result.numpy(), np.einsum("ih,jw,bhwc->bijc", rows, columns, inputs), atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_reshape_flatten_and_permute_are_those_of_keras(sizes: list[int], data: st.DataObject):
    inputs = numbers(3, *sizes)
    order = tuple(data.draw(st.permutations(range(1, len(sizes) + 1))))
    target = [math.prod(sizes[:1]), *sizes[1:][::-1]]
    if data.draw(st.booleans()):
        target[data.draw(st.integers(0, len(target) - 1))] = -1
    assert_same_layer(lambda L: L.Permute(order), inputs)
    assert_same_layer(lambda L: L.Reshape(target), inputs)
    assert_same_layer(lambda L: L.Flatten(data_format="channels_first"), inputs)


ELEMENTWISE = ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"]


@settings(max_examples=40)
@given(st.sampled_from(ELEMENTWISE), st.lists(st.integers(1, 3), max_size=3), st.integers(1, 3), st.data())
def test_elementwise_merging_broadcasts_as_in_keras(kind: str, sizes: list[int], count: int, data: st.DataObject):
    count = 2 if kind == "Subtract" else count
    shapes = [[data.draw(st.sampled_from([size, 1])) for size in sizes][data.draw(st.integers(0, len(sizes))) :] for _ in range(count)]
    inputs = [numbers(2, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    assert_same_layer(lambda L: getattr(L, kind)(), inputs)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3), st.data())
def test_concatenation_is_that_of_keras(sizes: list[int], count: int, data: st.DataObject):
    axis = data.draw(st.sampled_from([*range(1, len(sizes) + 1), *range(-len(sizes), 0)]))
    inputs = []
    for seed in range(count):
        shape = [2, *sizes]
        shape[axis] = data.draw(st.integers(1, 3))
        inputs.append(numbers(*shape, seed=seed))
    assert_same_layer(lambda L: L.Concatenate(axis), inputs)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 3), max_size=2), st.lists(st.integers(1, 3), max_size=2), st.booleans(), st.data())
def test_dot_products_are_those_of_keras(first: list[int], second: list[int], normalize: bool, data: st.DataObject):
    place_1, place_2 = data.draw(st.integers(0, len(first))), data.draw(st.integers(0, len(second)))
    shape_1, shape_2 = [*first[:place_1], 4, *first[place_1:]], [*second[:place_2], 4, *second[place_2:]]
    axes = (place_1 + 1, place_2 + 1)
    assert_same_layer(lambda L: L.Dot(axes, normalize), [numbers(2, *shape_1), numbers(2, *shape_2, seed=1)])


def masked(arrays: list[np.ndarray], masks: list[np.ndarray | None]) -> list[torch.Tensor]:
    tensors = [torch.from_numpy(array) for array in arrays]
    for tensor, mask in zip(tensors, masks, strict=True):
        if mask is not None:
            tensor._keras_mask = torch.from_numpy(mask)
    return tensors


@settings(max_examples=40)
@given(st.sampled_from([*ELEMENTWISE, "Concatenate"]), st.sampled_from([1, -1]), st.integers(1, 3), st.data())
def test_merging_masked_tensors_gives_the_values_and_the_mask_of_keras(kind: str, axis: int, count: int, data: st.DataObject):
    count = 2 if kind == "Subtract" else count
    arrays = [numbers(2, 4, 3, seed=seed) for seed in range(count)]
    masks = [
        data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=8, max_size=8).map(lambda m: np.array(m).reshape(2, 4))))
        for _ in range(count)
    ]
    options = {"axis": axis} if kind == "Concatenate" else {}

    ours = getattr(L, kind)(**options)(masked(arrays, masks))
    theirs: Any = getattr(keras.layers, kind)(**options)(masked(arrays, masks))

    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    one, two = getattr(ours, "_keras_mask", None), getattr(theirs, "_keras_mask", None)
    assert (one is None) == (two is None)
    if one is not None:
        np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize("name", [*map(str.lower, ELEMENTWISE), "concatenate", "dot"])
def test_the_lower_case_forms_are_those_of_keras(name: str):
    arrays = [torch.from_numpy(numbers(2, 3, seed=seed)) for seed in range(2)]
    np.testing.assert_allclose(getattr(L, name)(arrays).numpy(), getattr(keras.layers, name)(arrays).numpy(), atol=1e-6)
