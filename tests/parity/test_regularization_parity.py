"""Regularization beside Keras's: penalties, what inference does, and the moments of what is drawn."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context

SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)
NAMES = ["AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"]


@settings(max_examples=25)
@given(SHAPES, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_an_activity_penalty_is_that_of_keras(shape: tuple[int, ...], l1: float, l2: float):
    inputs = np.random.default_rng(0).standard_normal(shape).astype("float32")
    assert_same_layer(lambda L: L.ActivityRegularization(l1, l2), inputs)


@settings(max_examples=30)
@given(st.sampled_from(NAMES), SHAPES, st.sampled_from([0.0, 0.2, 0.5]), st.booleans())
def test_inference_and_configs_are_those_of_keras(name: str, shape: tuple[int, ...], rate: float, seeded: bool):
    inputs = np.random.default_rng(0).standard_normal(shape).astype("float32")
    assert_same_layer(lambda L: getattr(L, name)(rate, seed=3 if seeded else None), inputs, training=rate == 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda L: L.Dropout(0.3),
        lambda L: L.AlphaDropout(0.3),
        lambda L: L.GaussianDropout(0.3),
        lambda L: L.GaussianNoise(0.3),
        lambda L: L.SpatialDropout1D(0.3),
    ],
)
def test_the_moments_of_what_is_drawn_are_those_of_keras(make: Any):
    inputs = torch.full((300, 1, 300), 1.5)
    with call_context(CallContext(training=True, key=3)):
        ours = make(L)(inputs)
    keras.utils.set_random_seed(0)
    theirs = make(keras.layers)(inputs, training=True)
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=0.02)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.02, abs=0.01)
