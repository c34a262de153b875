"""Gates and states against what the layers themselves give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.models import Input, Sequential
from disttrain.viewers import forward, recurrent
from disttrain.viewers.packing import ViewError

X = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[True, True, False, True, True, False, False], [True] * 7])
CASES = {
    "LSTM": lambda **k: L.LSTM(4, bias_initializer="normal", **k),
    "LSTM with other activations": lambda **k: L.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid", **k),
    "LSTM without bias": lambda **k: L.LSTM(4, use_bias=False, **k),
    "GRU": lambda **k: L.GRU(4, bias_initializer="normal", **k),
    "GRU without bias": lambda **k: L.GRU(4, use_bias=False, **k),
    "GRU with reset before": lambda **k: L.GRU(4, reset_after=False, bias_initializer="normal", **k),
    "SimpleRNN": lambda **k: L.SimpleRNN(4, bias_initializer="normal", **k),
    "RNN of a cell": lambda **k: L.RNN(L.LSTMCell(4), **k),
}


@pytest.mark.parametrize("mask", [None, MASK], ids=["all steps", "masked"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("case", CASES)
def test_states_are_the_outputs_of_the_layer(case: str, backwards: bool, mask: Tensor | None):
    layer = CASES[case](return_sequences=True, return_state=True, go_backwards=backwards)
    with torch.no_grad():
        output, *last = layer(X, mask=mask)
    found = recurrent.states(layer, X, mask)
    np.testing.assert_allclose(found["hidden"], output[0].numpy(), atol=1e-6)
    for name, state in zip(("hidden", "cell"), last, strict=False):
        np.testing.assert_allclose(found[name][-1], state[0].numpy(), atol=1e-6)


def test_the_gates_of_an_lstm_make_its_states():
    layer = L.LSTM(4)
    layer(X)
    gates, states = recurrent.gates(layer, X), recurrent.states(layer, X)
    assert list(gates) == ["input", "forget", "candidate", "output"]
    before = np.concatenate([np.zeros((1, 4), np.float32), states["cell"][:-1]])
    np.testing.assert_allclose(gates["forget"] * before + gates["input"] * gates["candidate"], states["cell"], atol=1e-6)
    np.testing.assert_allclose(gates["output"] * np.tanh(states["cell"]), states["hidden"], atol=1e-6)


def test_a_forget_gate_that_is_open_by_its_bias_is_seen_to_be():
    layer = L.LSTM(2, kernel_initializer="zeros", recurrent_initializer="zeros")
    layer(X)
    gates = recurrent.gates(layer, X)
    assert np.allclose(gates["forget"], 1 / (1 + np.exp(-1))) and np.allclose(gates["input"], 0.5)


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_gates_of_a_gru_make_its_state(reset_after: bool):
    layer = L.GRU(4, reset_after=reset_after)
    layer(X)
    gates, hidden = recurrent.gates(layer, X), recurrent.states(layer, X)["hidden"]
    before = np.concatenate([np.zeros((1, 4), np.float32), hidden[:-1]])
    np.testing.assert_allclose(gates["update"] * before + (1 - gates["update"]) * gates["candidate"], hidden, atol=1e-6)
    assert set(gates) == {"update", "reset", "candidate"}


def test_gates_of_masked_steps_are_zeros():
    layer = L.GRU(4)
    layer(X)
    gates = recurrent.gates(layer, X, MASK)
    assert (gates["update"][[2, 5, 6]] == 0).all() and (gates["update"][[0, 1, 3, 4]] > 0).all()


@pytest.mark.parametrize("mask", [None, MASK[1:].repeat(2, 1)], ids=["no mask", "mask"])
def test_both_directions_stand_along_time(mask: Tensor | None):
    layer = L.Bidirectional(L.LSTM(4, return_sequences=True))
    with torch.no_grad():
        output = layer(X, mask=mask)[0].numpy()
    states = recurrent.states(layer, X, mask)
    np.testing.assert_allclose(np.concatenate([states["forward hidden"], states["backward hidden"]], -1), output, atol=1e-6)
    assert len(recurrent.gates(layer, X, mask)) == 8


def test_first_states_count():
    layer = L.LSTM(4, return_sequences=True)
    start = [torch.rand(2, 4), torch.rand(2, 4)]
    with torch.no_grad():
        output = layer(X, initial_state=start)
    np.testing.assert_allclose(recurrent.states(layer, X, None, start)["hidden"], output[0].numpy(), atol=1e-6)
    both = L.Bidirectional(L.GRU(4, return_sequences=True))
    with torch.no_grad():
        output = both(X, initial_state=start)
    found = recurrent.states(both, X, None, start)
    np.testing.assert_allclose(found["forward hidden"], output[0, :, :4].numpy(), atol=1e-6)


def test_a_recorded_call_has_all_that_is_needed():
    model = Sequential([Input((5,), dtype="int64"), L.Embedding(9, 3, mask_zero=True), L.LSTM(4, return_sequences=True, name="lstm")])
    recording = forward.record(model, torch.tensor([[4, 2, 0, 0, 0]]))
    call = recording.inputs("lstm")
    found = recurrent.states(model.get_layer("lstm"), **recurrent.arguments(call.args, call.kwargs))
    np.testing.assert_allclose(found["hidden"], recording.output("lstm"), atol=1e-6)
    assert (found["hidden"][2:] == found["hidden"][1]).all()


def test_a_stateful_layer_starts_where_it_stood():
    model = Sequential([Input((5, 3), batch_size=1), L.LSTM(4, stateful=True, return_sequences=True, name="lstm")])
    model(torch.rand(1, 5, 3))
    recording = forward.record(model, torch.rand(1, 5, 3))
    call = recording.inputs("lstm")
    found = recurrent.states(model.get_layer("lstm"), **recurrent.arguments(call.args, call.kwargs))
    np.testing.assert_allclose(found["hidden"], recording.output("lstm"), atol=1e-6)


def test_under_mixed_precision_they_are_those_of_the_float32_weights():
    layer = L.LSTM(4, return_sequences=True, dtype="mixed_bfloat16")
    with torch.no_grad():
        output = layer(X)[0].float().numpy()
    np.testing.assert_allclose(recurrent.states(layer, X.bfloat16())["hidden"], output, atol=0.03)


@pytest.mark.parametrize("layer", [L.Dense(2), L.SimpleRNN(2), L.RNN([L.LSTMCell(2), L.LSTMCell(2)])])
def test_layers_without_gates_say_so(layer: Any):
    with pytest.raises(ViewError, match="no gates"):
        recurrent.gates(layer, X)
    if not isinstance(layer, L.SimpleRNN):
        with pytest.raises(ViewError, match="no state"):
            recurrent.states(layer, X)
