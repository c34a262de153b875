"""Each kind of layer in each view, against the numbers behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from viewed_models import branched, convnet, text_model

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential
from disttrain.viewers import forward, views
from disttrain.viewers.forward import Recording
from disttrain.viewers.packing import Packed, ViewError


def shown(model: Any, x: Any, layer: str, view: str = "activations", **options: Any) -> tuple[Packed, Recording]:
    recording = forward.record(model, x)
    return views.render(model, recording, layer, view, exact=True, **options), recording


def alone(layer: Any, *shape: int) -> tuple[Packed, np.ndarray]:
    """A layer that is all of a model, on an input of this shape: (what is shown, what it gives)."""
    model = Sequential([Input(shape), layer])
    packed, recording = shown(model, torch.rand(1, *shape), layer.name)
    return packed, recording.output(layer.name)


def test_images_are_a_map_for_each_channel():
    packed, recording = shown(convnet(), torch.rand(1, 12, 12, 3), "first")
    output = recording.output("first")
    assert (packed.data == output.transpose(2, 0, 1)).all() and packed.header["form"] == "maps"
    assert packed.header["shape"] == [10, 10, 6] and packed.header["axes"] == ["height", "width", "channel"]
    assert packed.header["minimum"] == output.min((0, 1)).tolist()


def test_channels_that_come_first_are_maps_too():
    packed, output = alone(L.Conv2D(4, 3, data_format="channels_first"), 2, 6, 7)
    assert (packed.data == output).all() and packed.data.shape == (4, 4, 5)


def test_it_is_told_which_of_several_calls_and_outputs_is_shown():
    x = Input((6, 3))
    twice, states = L.Dense(3, name="twice"), L.LSTM(4, return_state=True, name="states")
    model = Model(x, [twice(twice(x)), states(x)[0]])
    packed, recording = shown(model, torch.rand(1, 6, 3), "twice")
    assert packed.header["message"] == "The output of this layer in the last of its 2 calls."
    assert (packed.data[0] == recording.results[0].T).all()
    assert shown(model, torch.rand(1, 6, 3), "states")[0].header["message"] == "The first of the 3 outputs of this layer."


def test_signals_are_a_line_for_each_channel():
    for layer in (L.Conv1D(4, 3), L.MaxPooling1D(), L.BatchNormalization(), L.Activation("tanh")):
        packed, output = alone(layer, 9, 3)
        assert packed.header["form"] == "lines" and (packed.data[:, 0] == output.T).all()


def test_a_vector_for_each_step_is_a_heat_map():
    for layer in (L.LSTM(4, return_sequences=True), L.Dense(5), L.LayerNormalization()):
        packed, output = alone(layer, 9, 3)
        assert packed.header["form"] == "heatmap" and (packed.data[0] == output.T).all() and packed.header["axes"] == ["unit", "time"]


def test_vectors_and_single_numbers_are_bars():
    packed, output = alone(L.Dense(5), 3)
    assert packed.header["form"] == "bars" and (packed.data == output[None, None]).all()


def test_volumes_are_a_map_for_each_slice_and_channel():
    packed, output = alone(L.Conv3D(2, 2), 4, 5, 6, 1)
    assert packed.data.shape == (6, 4, 5) and packed.header["labels"][3] == "slice 2, channel 2"
    assert (packed.data[3] == output[1, :, :, 1]).all()


def test_of_several_outputs_the_first_is_shown_and_said_to_be():
    packed, _ = alone(L.LSTM(4, return_state=True), 9, 3)
    assert packed.header["form"] == "bars" and "first of the 3 outputs" in packed.header["message"]


def test_a_window_of_maps_says_how_many_there_are():
    model, x = convnet(), torch.rand(1, 12, 12, 3)
    packed, recording = shown(model, x, "first", start=2, count=3)
    assert packed.header | {"total": 6, "start": 2, "count": 3} == packed.header
    assert (packed.data == recording.output("first").transpose(2, 0, 1)[2:5]).all()
    assert shown(model, x, "first", start=4, count=99)[0].header["count"] == 2
    wide, _ = alone(L.Conv2D(600, 1), 2, 2, 1)
    assert (wide.header["count"], wide.header["total"]) == (512, 600)


@pytest.mark.parametrize(("start", "count"), [(-1, None), (6, None), (0, 0), (0, -3)])
def test_a_window_outside_of_what_there_is_is_refused(start: int, count: int | None):
    with pytest.raises(ViewError, match=r"start=|count="):
        shown(convnet(), torch.rand(1, 12, 12, 3), "first", start=start, count=count)


def test_large_maps_come_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(views, "_MOST_NUMBERS", 350)
    assert shown(convnet(), torch.rand(1, 12, 12, 3), "first")[0].header["count"] == 3


def test_bytes_are_near_the_numbers():
    model, x = convnet(), torch.rand(1, 12, 12, 3)
    recording = forward.record(model, x)
    packed = views.render(model, recording, "first", "activations")
    low, high = (np.array(packed.header[name])[:, None, None] for name in ("minimum", "maximum"))
    near = low + packed.data / 255 * (high - low)
    assert (abs(near - recording.output("first").transpose(2, 0, 1)) <= (high - low) / 255 * 0.51).all()


# -- filters ----------------------------------------------------------------------------------------------------------------------------


def filters(layer: Any, *shape: int) -> tuple[Packed, Any]:
    model = Sequential([Input(shape), layer])
    return views.render(model, None, layer.name, "filters", exact=True), layer


def test_filters_of_colours_are_pictures():
    packed, layer = filters(L.Conv2D(5, 3), 8, 8, 3)
    assert packed.header["form"] == "pictures" and packed.header["channels"] == 3
    assert (packed.data == layer.kernel.detach().numpy().transpose(3, 0, 1, 2)).all()


def test_other_filters_are_a_map_for_each_filter_and_input():
    packed, layer = filters(L.Conv2D(5, 3), 8, 8, 2)
    kernel = layer.kernel.detach().numpy()
    assert packed.header["total"] == 10 and packed.header["labels"][3] == "filter 2, input 2"
    assert (packed.data[3] == kernel[:, :, 1, 1]).all()
    packed, layer = filters(L.Conv2D(5, 3), 8, 8, 1)
    assert packed.header["labels"] is None and (packed.data[4] == layer.kernel.detach().numpy()[:, :, 0, 4]).all()


def test_filters_of_every_convolution_are_found():
    packed, layer = filters(L.Conv1D(5, 3), 8, 2)
    assert packed.header["form"] == "maps" and (packed.data[4] == layer.kernel.detach().numpy()[:, :, 4].T).all()
    packed, layer = filters(L.Conv1D(5, 3), 8, 1)
    assert packed.header["form"] == "lines" and (packed.data[4, 0] == layer.kernel.detach().numpy()[:, 0, 4]).all()
    packed, layer = filters(L.Conv3D(2, (2, 3, 4)), 8, 8, 8, 2)
    assert packed.data.shape == (8, 3, 4) and packed.header["labels"][7] == "filter 2, input 2, slice 2"
    assert (packed.data[7] == layer.kernel.detach().numpy()[1, :, :, 1, 1]).all()
    packed, layer = filters(L.Conv2DTranspose(5, 3), 8, 8, 2)
    assert (packed.data[3] == layer.kernel.detach().numpy()[:, :, 1, 1]).all() and packed.header["total"] == 10
    packed, layer = filters(L.DepthwiseConv2D(3, depth_multiplier=2), 8, 8, 4)
    assert (packed.data[5] == layer.kernel.detach().numpy()[:, :, 1, 1]).all() and packed.header["total"] == 8
    packed, layer = filters(L.SeparableConv2D(5, 3), 8, 8, 4)
    assert packed.header["total"] == 4 and "pointwise" in packed.header["message"]
    packed, layer = filters(L.TimeDistributed(L.Conv2D(5, 3)), 2, 8, 8, 3)
    assert packed.header["form"] == "pictures"


def test_weights_of_dense_layers_and_embeddings_are_heat_maps():
    packed, layer = filters(L.Dense(5), 3)
    assert (packed.data[0] == layer.kernel.detach().numpy().T).all() and packed.header["axes"] == ["unit", "input"]
    model = text_model()
    packed = views.render(model, None, "embedding", "filters", exact=True)
    assert (packed.data[0] == model.get_layer("embedding").embeddings.detach().numpy()).all()
    packed, _ = filters(L.Dense(2), 3000)
    assert packed.data.shape == (1, 2, 2048) and "3000 x 2" in packed.header["message"]


# -- recurrent layers and attention -----------------------------------------------------------------------------------------------------


def test_gates_and_states_are_heat_maps_with_names():
    model, x = text_model(), torch.tensor([[3, 4, 5, 6, 0, 0]])
    packed, _ = shown(model, x, "gru", "gates")
    assert packed.header["labels"] == ["update", "reset", "candidate"] and packed.data.shape == (3, 4, 6)
    assert packed.header["axes"] == ["gate", "unit", "time"] and packed.header["form"] == "heatmap"
    packed, recording = shown(model, x, "gru", "state")
    assert packed.header["labels"] == ["hidden"] and np.allclose(packed.data[0, :, -1], recording.output("gru"), atol=1e-6)
    packed, _ = shown(model, x, "both", "gates", start=3, count=2)
    assert packed.header["labels"] == ["forward output", "backward input"]


def test_attention_is_a_map_for_each_head():
    packed, _ = shown(text_model(), torch.tensor([[3, 4, 5, 6, 0, 0]]), "heads", "attention")
    assert packed.data.shape == (2, 6, 6) and packed.header["labels"] == ["head 1", "head 2"]
    assert np.allclose(packed.data[:, :4].sum(-1), 1, atol=1e-6) and (packed.data[:, :, 4:] == 0).all()


# -- what is refused --------------------------------------------------------------------------------------------------------------------


def test_what_a_layer_lacks_is_said():
    model, x = text_model(), torch.tensor([[3, 4, 5, 6, 0, 0]])
    for layer, view in (("gru", "attention"), ("gru", "filters"), ("heads", "gates"), ("out", "state")):
        with pytest.raises(ViewError, match=f"'{layer}' is a .*, which has no {view} to show; .* have"):
            shown(model, x, layer, view)
    with pytest.raises(ViewError, match="no view 'colours'"):
        shown(model, x, "gru", "colours")
    with pytest.raises(ViewError, match="no layer 'lstm'"):
        shown(model, x, "lstm")
    with pytest.raises(ViewError, match="choose one first"):
        views.render(model, None, "gru", "gates")


def test_whole_numbers_and_halves_are_shown():
    packed, _ = shown(text_model(), torch.tensor([[3, 4, 5, 6, 0, 0]]), "words")
    assert packed.data.tolist() == [[[3, 4, 5, 6, 0, 0]]] and packed.header["form"] == "bars"
    x = Input((4,))
    half = Model(x, L.Dense(3, dtype="mixed_bfloat16", name="half")(x))
    assert shown(half, torch.rand(1, 4), "half")[0].data.shape == (1, 1, 3)


def test_models_inside_are_looked_into():
    model = branched()
    packed, recording = shown(model, [torch.rand(1, 8, 8, 1), torch.rand(1, 4)], "inner/conv")
    assert (packed.data == recording.output("inner/conv").transpose(2, 0, 1)).all()
