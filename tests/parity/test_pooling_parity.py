"""Pooling beside Keras's over sizes, windows, strides and paddings; "same" averages beside numpy, since Keras's torch backend is wrong."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer

from disttrain import layers as L

RANKS = st.integers(1, 3)


@st.composite
def windows(draw: st.DrawFn, rank: int, padding: str) -> tuple[dict[str, Any], np.ndarray]:
    """Arguments of a pooling layer, and an input that a window fits into where it must."""
    high = 4 if rank < 3 else 3
    pool_size = tuple(draw(st.integers(1, high)) for _ in range(rank))
    strides = draw(st.one_of(st.none(), st.tuples(*[st.integers(1, high)] * rank)))
    least = pool_size if padding == "valid" else (1,) * rank
    sizes = [draw(st.integers(size, size + 4)) for size in least]
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    shape = (2, *sizes, 2) if data_format == "channels_last" else (2, 2, *sizes)
    inputs = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape).astype("float32")
    return {"pool_size": pool_size, "strides": strides, "padding": padding, "data_format": data_format}, inputs


@settings(max_examples=40)
@given(RANKS, st.sampled_from(["valid", "same"]), st.data())
def test_max_pooling_is_that_of_keras(rank: int, padding: str, data: st.DataObject):
    arguments, inputs = data.draw(windows(rank, padding))
    assert_same_layer(lambda L: getattr(L, f"MaxPooling{rank}D")(**arguments), inputs)


@settings(max_examples=30)
@given(RANKS, st.data())
def test_average_pooling_without_padding_is_that_of_keras(rank: int, data: st.DataObject):
    arguments, inputs = data.draw(windows(rank, "valid"))
    assert_same_layer(lambda L: getattr(L, f"AveragePooling{rank}D")(**arguments), inputs)


def mean_matrix(size: int, window: int, stride: int) -> np.ndarray:
    """(outputs, size): row i holds 1 / m at each of the m elements that window i of "same" padding finds."""
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + window - size, 0) // 2
    rows = np.zeros((outputs, size))
    for i in range(outputs):
        start = i * stride - before
        rows[i, max(start, 0) : min(start + window, size)] = 1
    return rows / rows.sum(1, keepdims=True)


@settings(max_examples=40)
@given(RANKS, st.data())
def test_average_pooling_with_padding_divides_by_what_is_there_and_so_does_its_gradient(rank: int, data: st.DataObject):
    arguments, inputs = data.draw(windows(rank, "same"))
    first = 1 if arguments["data_format"] == "channels_last" else 2
    strides = arguments["strides"] or arguments["pool_size"]
    matrices = [mean_matrix(inputs.shape[first + i], arguments["pool_size"][i], strides[i]) for i in range(rank)]
    x = torch.from_numpy(inputs).requires_grad_()

    y = getattr(L, f"AveragePooling{rank}D")(**arguments)(x)
    y.backward(torch.sin(y.detach()))

    np.testing.assert_allclose(y.detach().numpy(), along_axes(inputs, matrices, first), atol=1e-5)
    expected = along_axes(np.sin(y.detach().numpy()), [matrix.T for matrix in matrices], first)
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-5)


def along_axes(x: np.ndarray, matrices: list[np.ndarray], first: int) -> np.ndarray:
    def apply(array: np.ndarray, numbered: tuple[int, np.ndarray]) -> np.ndarray:
        axis, matrix = numbered
        return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)

    return functools.reduce(apply, enumerate(matrices, start=first), x)


@settings(max_examples=30)
@given(RANKS, st.sampled_from(["Max", "Average"]), st.sampled_from(["channels_last", "channels_first"]), st.data())
def test_adaptive_pooling_is_that_of_keras(rank: int, kind: str, data_format: str, data: st.DataObject):
    inputs = np.random.default_rng(0).standard_normal(data.draw(st.tuples(*[st.integers(1, 5)] * (rank + 2)))).astype("float32")
    output_size = data.draw(st.one_of(st.integers(1, 4), st.tuples(*[st.integers(1, 4)] * rank)))
    assert_same_layer(lambda L: getattr(L, f"Adaptive{kind}Pooling{rank}D")(output_size, data_format), inputs)


@settings(max_examples=25)
@given(RANKS, st.sampled_from(["Max", "Average"]), st.sampled_from(["channels_last", "channels_first"]), st.booleans(), st.data())
def test_global_pooling_is_that_of_keras(rank: int, kind: str, data_format: str, keepdims: bool, data: st.DataObject):
    inputs = np.random.default_rng(0).standard_normal(data.draw(st.tuples(*[st.integers(1, 4)] * (rank + 2)))).astype("float32")
    assert_same_layer(lambda L: getattr(L, f"Global{kind}Pooling{rank}D")(data_format, keepdims), inputs)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_sample_without_a_step_that_counts_has_no_mean_as_in_keras():
    inputs = np.ones((2, 3, 1), "float32")
    mask = np.array([[True, False, True], [False, False, False]])
    assert_same_layer(lambda L: L.GlobalAveragePooling1D(), inputs, {"mask": mask}, gradients=False)
    assert np.isnan(L.GlobalAveragePooling1D()(torch.from_numpy(inputs), mask=torch.from_numpy(mask))[1, 0].item())
