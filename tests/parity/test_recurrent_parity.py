"""Recurrent layers beside Keras's, over sizes, flags, masks and initial states: outputs, states and gradients."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer, build_pair

from disttrain import layers as L
from disttrain.layers.structure import flatten

flags = st.booleans()
sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3))  # batch, time, features
STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}


@st.composite
def sequences(draw: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(sequences, a mask of any pattern or None)."""
    batch, time, features = draw(sizes)
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    x = random.standard_normal((batch, time, features)).astype("float32")
    mask = draw(st.none() | st.lists(st.lists(flags, min_size=time, max_size=time), min_size=batch, max_size=batch))
    return x, None if mask is None else np.array(mask)


options = st.fixed_dictionaries(
    {"return_sequences": flags, "return_state": flags, "go_backwards": flags, "zero_output_for_mask": flags, "use_bias": flags}
)


def with_masks(mask: np.ndarray | None, initial: list[np.ndarray] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {} if mask is None else {"mask": mask}
    return found if initial is None else {**found, "initial_state": initial}


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(STATES)),
    units=st.integers(1, 4),
    data=sequences(),
    options=options,
    activation=st.sampled_from(["tanh", "tanh", "relu", None]),
    started=flags,
    reset_after=flags,
)
def test_a_recurrent_layer_computes_what_keras_computes(
    name: str, units: int, data: Any, options: dict[str, Any], activation: str | None, started: bool, reset_after: bool
):
    x, mask = data
    more = {"reset_after": reset_after} if name == "GRU" else {}
    initial = [np.cos(np.arange(len(x) * units, dtype="float32") + i).reshape(-1, units) for i in range(STATES[name])]
    assert_same_layer(
        lambda L: getattr(L, name)(units, activation, **options, **more),
        x,
        with_masks(mask, initial if started else None),
        config=not started,
        tolerance=2e-5,
    )


@settings(max_examples=15)
@given(data=sequences(), cells=st.lists(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]), min_size=2, max_size=3), options=options)
def test_stacked_cells_compute_what_keras_computes(data: Any, cells: list[str], options: dict[str, Any]):
    x, mask = data
    use_bias = options.pop("use_bias")
    assert_same_layer(
        lambda L: L.RNN([getattr(L, f"{name}Cell")(2 + number, use_bias=use_bias) for number, name in enumerate(cells)], **options),
        x,
        with_masks(mask),
        tolerance=2e-5,
    )


@settings(max_examples=20)
@given(
    name=st.sampled_from(sorted(STATES)),
    data=sequences(),
    merge_mode=st.sampled_from(["sum", "mul", "ave", "concat", None]),
    return_sequences=flags,
    return_state=flags,
    started=flags,
)
def test_bidirectional_computes_what_keras_computes(
    name: str, data: Any, merge_mode: str | None, return_sequences: bool, return_state: bool, started: bool
):
    x, mask = data
    initial = [np.full((len(x), 3), 0.1 * i, "float32") for i in range(2 * STATES[name])] if started else None
    assert_same_layer(
        lambda L: L.Bidirectional(getattr(L, name)(3, return_sequences=return_sequences, return_state=return_state), merge_mode),
        x,
        with_masks(mask, initial),
        config=not started,
        tolerance=2e-5,
    )


@settings(max_examples=10)
@given(
    padding=st.sampled_from(["valid", "same"]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    bias=flags,
    return_sequences=flags,
    mask=st.none() | st.lists(st.lists(flags, min_size=3, max_size=3), min_size=2, max_size=2),
)
def test_a_convolutional_lstm_computes_what_keras_computes(
    padding: str, kernel: int, stride: int, bias: bool, return_sequences: bool, mask: Any
):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype("float32")
    assert_same_layer(
        lambda L: L.ConvLSTM2D(2, kernel, stride, padding, use_bias=bias, return_sequences=return_sequences),
        x,
        with_masks(None if mask is None else np.array(mask)),
        tolerance=3e-5,
    )


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_states_go_on_from_batch_to_batch_as_in_keras(name: str):
    def make(layers: Any, stateful: bool) -> Any:
        if name == "Bidirectional":
            return layers.Bidirectional(layers.GRU(3, stateful=stateful, return_sequences=True))
        return getattr(layers, name)(3, stateful=stateful, return_sequences=True)

    batches = np.random.default_rng(1).standard_normal((4, 2, 3, 2)).astype("float32")
    ours, theirs = make(L, True), make(keras.layers, True)
    ours(torch.from_numpy(batches[0])), theirs(batches[0])
    values = [0.3 * np.cos(np.arange(np.prod(weight.shape))).reshape(weight.shape) for weight in theirs.trainable_weights]
    for mine, weight, value in zip(ours.trainable_weights, theirs.trainable_weights, values, strict=True):
        weight.assign(value)
        mine.data.copy_(torch.as_tensor(value))
    ours.reset_state(), theirs.reset_state()
    for number, batch in enumerate(batches):
        if number == 3:
            ours.reset_states(), theirs.reset_states()
        one, two = ours(torch.from_numpy(batch)), theirs(batch)
        np.testing.assert_allclose(one.detach(), two.detach(), atol=1e-6)
        for mine, other in zip(flatten(ours.states), keras.tree.flatten(theirs.states), strict=True):
            np.testing.assert_allclose(mine, other.value.detach(), atol=1e-6)


class OurCell(L.Layer):
    """`c' = c + w x`, `n' = n + 1`, output `c' * n'`: two states, and an output that is none of them."""

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.state_size, self.output_size = size, [size, 1], size

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.size))

    def call(self, inputs: Any, states: Any) -> Any:
        total, number = states[0] + inputs @ self.kernel, states[1] + 1
        return total * number, [total, number]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class TheirCell(keras.layers.Layer):
    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.state_size, self.output_size = size, [size, 1], size

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.size))

    def call(self, inputs: Any, states: Any) -> Any:
        total, number = states[0] + keras.ops.matmul(inputs, self.kernel), states[1] + 1
        return total * number, [total, number]


@settings(max_examples=15)
@given(data=sequences(), options=options, stacked=flags)
def test_a_cell_of_the_users_own_computes_what_it_computes_in_keras(data: Any, options: dict[str, Any], stacked: bool):
    x, mask = data
    del options["use_bias"]

    def make(layers: Any) -> Any:
        cell = OurCell(3) if layers is L else TheirCell(3)
        return layers.RNN([cell, layers.GRUCell(2)] if stacked else cell, **options)

    assert_same_layer(make, x, with_masks(mask), config=False, tolerance=2e-5)


def test_time_distributed_calls_what_sees_the_whole_batch_once_a_step_as_keras_does():
    x = np.random.default_rng(2).standard_normal((3, 4, 2)).astype("float32")
    ours, theirs = build_pair(lambda layers: layers.TimeDistributed(layers.BatchNormalization(momentum=0.5)), [x])
    one, two = ours(torch.from_numpy(x), training=True), theirs(x, training=True)
    np.testing.assert_allclose(one.detach(), two.detach(), rtol=2e-5, atol=1e-5)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine.detach(), other.value.detach(), atol=1e-6)
