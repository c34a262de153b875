"""One pass gives every layer's output, and leaves no trace."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from viewed_models import Written, branched, convnet, shared, text_model

from disttrain import layers as L
from disttrain import seeds
from disttrain.models import Input, Model, Sequential
from disttrain.viewers import forward, graph
from disttrain.viewers.packing import ViewError


def state_of(model: Any) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in model.weights]


def test_every_layer_gives_what_a_model_that_ends_there_gives():
    model, x = convnet(), torch.rand(1, 12, 12, 3)
    recording = forward.record(model, x)
    assert list(recording.calls) == list(graph.layers(model))
    for name in ("first", "norm", "pool", "second", "drop", "flat", "out"):
        part = Model(model.inputs, model.get_layer(name).output)
        with torch.no_grad():
            assert (recording.output(name) == part(x)[0].numpy()).all(), name
    assert (recording.output(next(iter(recording.calls))) == x[0].numpy()).all()
    assert (recording.results[0] == recording.output("out")).all()


def test_inputs_and_layers_of_a_model_inside_are_recorded():
    model = branched()
    recording = forward.record(model, [torch.rand(1, 8, 8, 1), torch.rand(1, 4)])
    assert recording.output("a").shape == (8, 8, 1) and recording.output("b").shape == (4,)
    assert recording.output("inner/conv").shape == (6, 6, 3)
    assert (recording.output("inner/mean") == recording.output("inner")).all()
    inside = next(path for path in recording.calls if path.startswith("inner/input"))
    assert (recording.output(inside) == recording.output("a")).all()
    assert [result.shape for result in recording.results] == [(4,), (1,)]
    by_name = forward.record(model, {"b": torch.zeros(1, 4), "a": torch.zeros(1, 8, 8, 1)})
    assert by_name.output("b").tolist() == [0.0] * 4


def test_a_layer_that_is_called_twice_keeps_both_calls_and_shows_the_newest():
    model, x = shared(), torch.rand(1, 4)
    recording = forward.record(model, x)
    dense = model.get_layer("dense")
    first, second = (call.outputs[0] for call in recording.calls["dense"])
    with torch.no_grad():
        assert (first == dense(x)[0]).all() and (second == dense(torch.tensor(recording.output("between"))[None])[0]).all()
    assert (recording.output("dense") == second.numpy()).all()


def test_a_model_that_is_code_is_recorded_as_far_as_its_call_goes():
    model = Written()
    model(torch.rand(1, 3))
    recording = forward.record(model, torch.rand(1, 3))
    assert recording.output("block/inside").shape == (4,) and recording.output("two").shape == (2,)
    with pytest.raises(ViewError, match="'no' took no part"):
        recording.output("no")


def test_masks_and_dropout_are_those_of_inference():
    model = text_model()
    recording = forward.record(model, torch.tensor([[3, 4, 5, 0, 0, 0]]))
    shorter = forward.record(model, torch.tensor([[3, 4, 5, 0, 0, 0]]))
    assert (recording.output("gru") == shorter.output("gru")).all()
    with torch.no_grad():
        assert (recording.results[0] == model(torch.tensor([[3, 4, 5, 0, 0, 0]]))[0].numpy()).all()
    plain = convnet()
    recording = forward.record(plain, torch.rand(1, 12, 12, 3))
    assert (recording.output("drop") == recording.output("second")).all()


@pytest.mark.parametrize("training", [False, True])
def test_nothing_in_the_model_changes(training: bool):
    module = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
    model = Sequential([Input((5, 3), batch_size=2), L.BatchNormalization(), L.LSTM(5, stateful=True), L.TorchModule(module), L.Dense(2)])
    x = torch.rand(2, 5, 3)
    model(x)
    before, flags = state_of(model), [child.training for child in model.modules()]
    seeds.set_random_seed(3)
    expected = seeds.next_key("layer")
    seeds.set_random_seed(3)
    torch_state = torch.get_rng_state()
    forward.record(model, x, training=training)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert seeds.next_key("layer") == expected
    assert all(torch.equal(one, two) for one, two in zip(before, state_of(model), strict=True))
    assert [child.training for child in model.modules()] == flags
    assert all(weight.grad is None for weight in model.weights)
    assert not any(child._forward_hooks for child in model.modules())


def test_training_shows_what_dropout_drops():
    recording = forward.record(convnet(), torch.rand(1, 12, 12, 3), training=True)
    assert (recording.output("drop") != recording.output("second")).any()


def test_a_failed_pass_leaves_no_hooks():
    model = convnet()
    with pytest.raises(ValueError, match="expected"):
        forward.record(model, torch.rand(1, 9, 9, 3))
    assert not any(child._forward_hooks for child in model.modules())


def test_a_model_without_weights_is_refused():
    with pytest.raises(ViewError, match="not built yet"):
        forward.record(Sequential([L.Dense(2)]), torch.rand(1, 3))


def test_calls_of_other_threads_are_not_recorded():
    class Meanwhile(L.Layer):
        def call(self, x: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                other = threading.Thread(target=lambda: dense(torch.full((1, 3), 9.0)))
                other.start()
                other.join()
            return x

    dense = L.Dense(2, name="dense")
    model = Sequential([Input((3,)), Meanwhile(), dense])
    assert len(forward.record(model, torch.zeros(1, 3)).calls["dense"]) == 1


def test_what_a_torch_module_overwrites_was_recorded_before():
    model = Sequential([Input((3,)), L.Dense(3, name="dense"), L.TorchModule(nn.ReLU(inplace=True))])
    model.get_layer("dense").set_weights([-np.eye(3), np.zeros(3)])
    assert forward.record(model, torch.ones(1, 3)).output("dense").tolist() == [-1.0, -1.0, -1.0]


def test_the_size_counts_shared_memory_once():
    model = Sequential([Input((8,)), L.Reshape((2, 4)), L.Flatten()])
    assert forward.record(model, torch.zeros(1, 8)).size_bytes == 32
