"""Saliency, Grad-CAM and integrated gradients against numbers that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from viewed_models import Written, branched, convnet, text_model

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential
from disttrain.viewers.attribution import attribute, integrated_gradients
from disttrain.viewers.packing import Packed, ViewError

PICTURE = torch.rand(1, 12, 12, 3, generator=torch.Generator().manual_seed(0))


def values(packed: Packed) -> np.ndarray:
    low, high = packed.header["minimum"][0], packed.header["maximum"][0]
    return low + packed.data[0] / 255 * (high - low)


def linear(activation: str | None = None) -> tuple[Model, np.ndarray]:
    """(a model of one dense layer on a picture, its weights by place, channel and class)."""
    x = Input((4, 5, 2))
    model = Model(x, L.Dense(3, activation, name="out")(L.Flatten()(x)))
    return model, model.get_layer("out").kernel.detach().numpy().reshape(4, 5, 2, 3)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_gradient_of_a_linear_model_is_its_weights(activation: str | None):
    model, weights = linear(activation)
    packed = attribute(model, torch.rand(1, 4, 5, 2), "gradient", target=1)
    expected = abs(weights[..., 1]).max(-1)
    assert np.allclose(values(packed), expected, atol=expected.max() / 400)
    assert packed.header["of_logits"] is (activation == "softmax") and packed.header["target"] == 1
    assert (packed.header["form"], packed.header["height"], packed.header["width"], packed.header["total"]) == ("maps", 4, 5, 1)


@pytest.mark.parametrize("end", [lambda: L.Softmax(), lambda: L.Activation("softmax")])
def test_a_softmax_of_its_own_is_passed_over(end: Any):
    model, _ = linear()
    x = Input((4, 5, 2))
    whole = Model(x, end()(model(x)))
    picture = torch.rand(1, 4, 5, 2)
    one, two = attribute(whole, picture, "gradient", target=0), attribute(model, picture, "gradient", target=0)
    assert (one.data == two.data).all() and one.header["of_logits"] and not two.header["of_logits"]


def test_the_target_is_the_likeliest_class_unless_told():
    model = convnet()
    with torch.no_grad():
        likeliest = int(model(PICTURE)[0].argmax())
    assert attribute(model, PICTURE, "gradient").header["target"] == likeliest


@pytest.mark.parametrize("method", ["gradient", "gradcam", "integrated"])
def test_maps_have_the_size_of_the_picture_and_the_model_stays_as_it_is(method: str):
    model = convnet()
    before = [weight.detach().clone() for weight in model.weights]
    packed = attribute(model, PICTURE, method, target=2)
    assert packed.data.shape == (1, 12, 12) and packed.header["minimum"][0] >= 0 and packed.header["method"] == method
    assert all(weight.grad is None for weight in model.weights)
    assert all(torch.equal(one, two) for one, two in zip(before, model.weights, strict=True))
    assert not any(child._forward_hooks for child in model.modules()) and PICTURE.requires_grad is False


def test_integrated_gradients_sum_to_what_the_score_gained():
    contributions, found, baseline = integrated_gradients(convnet(), PICTURE, target=2, steps=256)
    assert contributions.sum() == pytest.approx(found.score - baseline, abs=2e-3 * max(1.0, abs(found.score)))


def test_integrated_gradients_of_a_linear_model_are_weight_times_input():
    model, weights = linear()
    picture = torch.rand(1, 4, 5, 2)
    contributions, found, baseline = integrated_gradients(model, picture, target=1, steps=3)
    assert np.allclose(contributions, weights[..., 1] * picture[0].numpy(), atol=1e-6)
    assert found.score - baseline == pytest.approx(float(contributions.sum()), abs=1e-5)


def test_a_model_of_one_batch_size_is_integrated_too():
    model = Sequential([Input((4, 4, 1), batch_size=1), L.Conv2D(2, 3), L.Flatten(), L.Dense(2)])
    assert attribute(model, torch.rand(1, 4, 4, 1), "integrated", steps=5).data.shape == (1, 4, 4)


def test_grad_cam_finds_where_the_class_is():
    x = Input((8, 8, 1))
    maps = L.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="maps")(x)
    model = Model(x, L.Dense(2, use_bias=False, kernel_initializer="ones")(L.GlobalAveragePooling2D()(maps)))
    picture = torch.zeros(1, 8, 8, 1)
    picture[0, 5, 2] = 1.0
    found = values(attribute(model, picture, "gradcam", target=0))
    assert np.unravel_index(found.argmax(), found.shape) == (5, 2) and (np.sort(found.reshape(-1))[:-1] == 0).all()
    assert found.max() == pytest.approx(1 / 64)


def test_grad_cam_follows_its_formula_and_takes_a_layer():
    model = convnet()
    for name in ("first", "second"):
        part = Model(model.inputs, [model.get_layer(name).output, model.get_layer("flat").output])
        features, flat = part(PICTURE)
        dense = model.get_layer("out")
        gradient = torch.autograd.grad((flat @ dense.kernel + dense.bias)[0, 1], features)[0]
        cam = torch.relu((features * gradient.mean((1, 2), keepdim=True)).sum(-1))
        expected = torch.nn.functional.interpolate(cam[:, None], (12, 12), mode="bilinear")[0, 0].detach().numpy()
        found = values(attribute(model, PICTURE, "gradcam", target=1, layer=name))
        assert np.allclose(found, expected, atol=max(expected.max(), 1e-6) / 400)


def test_grad_cam_looks_into_models_inside():
    inputs = [torch.rand(1, 8, 8, 1), torch.rand(1, 4)]
    assert attribute(branched(), inputs, "gradcam").data.shape == (1, 8, 8)
    assert attribute(branched(), inputs, "gradcam", layer="inner/conv", output=1).header["target"] == 0


def test_of_several_inputs_the_picture_is_looked_at():
    for inputs in ([torch.rand(1, 8, 8, 1), torch.rand(1, 4)], {"a": torch.rand(1, 8, 8, 1), "b": torch.rand(1, 4)}):
        for method in ("gradient", "integrated"):
            assert attribute(branched(), inputs, method, output=0).data.shape == (1, 8, 8)


@pytest.mark.parametrize("method", ["gradient", "integrated"])
def test_of_several_inputs_the_one_that_is_asked_about_is_looked_at(method: str):
    inputs = [torch.rand(1, 8, 8, 1), torch.rand(1, 4)]
    for given in (inputs, {"b": inputs[1], "a": inputs[0]}):
        packed = attribute(branched(), given, method, layer="b")
        assert packed.header["form"] == "bars" and packed.data.shape == (1, 1, 4)
        assert attribute(branched(), given, method, layer="a").data.shape == (1, 8, 8)
    with pytest.raises(ViewError, match="'side' is no input of the model, whose inputs are: a, b"):
        attribute(branched(), inputs, method, layer="side")


def test_series_give_a_line_vectors_give_bars_and_grey_pictures_a_map():
    series = Sequential([Input((30, 2)), L.Conv1D(4, 3), L.LSTM(3), L.Dense(2)])
    packed = attribute(series, torch.rand(1, 30, 2), "gradient")
    assert packed.header["form"] == "lines" and packed.data.shape == (1, 1, 30)
    vector = Sequential([Input((6,)), L.Dense(2)])
    assert attribute(vector, torch.rand(1, 6), "integrated").header["form"] == "bars"
    grey = Sequential([Input((20, 20)), L.Flatten(), L.Dense(2)])
    assert attribute(grey, torch.rand(1, 20, 20), "gradient").data.shape == (1, 20, 20)


def test_a_model_that_is_code_is_attributed_too():
    model = Written()
    model(torch.rand(1, 3))
    assert attribute(model, torch.rand(1, 3), "gradient").data.shape == (1, 1, 3)
    assert attribute(model, torch.rand(1, 3), "integrated").data.shape == (1, 1, 3)


def test_outputs_with_places_are_averaged_over_them():
    model = Sequential([Input((6, 6, 1)), L.Conv2D(3, 3, use_bias=False)])
    picture = torch.rand(1, 6, 6, 1)
    with torch.no_grad():
        expected = float(model(picture)[0, ..., 2].mean())
    assert attribute(model, picture, "gradient", target=2).header["score"] == pytest.approx(expected)


def test_tokens_have_no_attribution():
    for method in ("gradient", "gradcam", "integrated"):
        with pytest.raises(ViewError, match="tokens"):
            attribute(text_model(), torch.tensor([[1, 2, 3, 0, 0, 0]]), method)
    floats = Sequential([Input((5,)), L.Embedding(9, 3), L.GlobalAveragePooling1D(), L.Dense(2)])
    with pytest.raises(ViewError, match="tokens"):
        attribute(floats, torch.ones(1, 5), "gradient")


def test_wrong_wishes_are_refused():
    model = convnet()
    for options, message in (
        ({"method": "magic"}, "no method 'magic'"),
        ({"method": "gradient", "target": 5}, "class=5: the output has 5 units"),
        ({"method": "gradient", "output": 1}, "output=1: the model has 1 outputs"),
        ({"method": "gradcam", "layer": "flat"}, "'flat' gives no .* first, norm, pool, second, drop"),
        ({"method": "gradcam", "layer": "frist"}, "no layer 'frist'"),
        ({"method": "integrated", "steps": 0}, "steps=0"),
    ):
        with pytest.raises(ViewError, match=message):
            attribute(model, PICTURE, **options)
    with pytest.raises(ViewError, match="this model has none"):
        attribute(Sequential([Input((6,)), L.Dense(2)]), torch.rand(1, 6), "gradcam")
