"""Numbers about an output, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disttrain import layers as L
from disttrain.viewers.statistics import summarize


@given(arrays.arrays(st.sampled_from([np.float32, np.float64, np.float16, np.int64, bool]), arrays.array_shapes(min_dims=0, min_side=0)))
def test_any_array_has_statistics_that_are_json(values: np.ndarray):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = summarize(values)
    json.dumps(found, allow_nan=False)
    finite = np.isfinite(values.astype(np.float64)).sum()
    assert found["count"] == values.size and found["count"] - found["not_finite"] == finite == sum(found["histogram"]["counts"])
    if finite:
        assert found["minimum"] <= found["maximum"] and len(found["histogram"]["edges"]) == len(found["histogram"]["counts"]) + 1


def test_they_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    found = summarize(values)
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-6) and found["deviation"] == pytest.approx(values.std(), abs=1e-6)
    assert (found["minimum"], found["maximum"]) == (values.min(), values.max())


def test_units_that_are_zero_everywhere_are_dead():
    values = np.ones((4, 4, 6))
    values[..., 2] = 0
    values[1:, :, 4] = 0
    found = summarize(values)
    assert (found["dead_units"], found["units"]) == (1, 6) and found["zero_share"] == pytest.approx(28 / 96)
    assert summarize(np.moveaxis(values, -1, 0), L.Conv2D(6, 3, data_format="channels_first"))["dead_units"] == 1
    assert summarize(np.array([0.0, 1.0, 0.0]))["dead_units"] == 2


@pytest.mark.parametrize(
    ("layer", "values", "share"),
    [
        (L.Dense(1, "tanh"), [-0.999, 0.0, 0.995, 0.5], 0.5),
        (L.Activation("sigmoid"), [0.001, 0.5, 0.999, 0.9], 0.5),
        (L.Activation("hard_sigmoid"), [0.0, 0.5, 0.6, 0.9], 0.25),
        (L.LSTM(2), [1.0, 0.2, 0.1, 0.9], 0.25),
        (L.ReLU(max_value=6), [0.0, 6.0, 6.0, 1.0], 0.5),
        (L.Activation("relu6"), [0.0, 0.0, 6.0, 1.0], 0.25),
        (L.Softmax(), [[0.999, 0.001], [0.5, 0.5]], 0.5),
        (L.Dense(2, "softmax"), [0.5, 0.5], 0.0),
        (L.Dense(2, "relu"), [0.0, 9.0], None),
        (L.ReLU(), [0.0, 9.0], None),
        (None, [1.0], None),
    ],
)
def test_values_near_the_limits_of_an_activation_are_saturated(layer: Any, values: Any, share: float | None):
    assert summarize(np.array(values), layer)["saturated_share"] == share


def test_a_constant_output_has_one_full_bin():
    found = summarize(np.full((3, 3), 5.0))
    assert found["deviation"] == 0 and max(found["histogram"]["counts"]) == 9
