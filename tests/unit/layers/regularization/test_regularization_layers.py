"""Dropout, noise and penalties: scaling, shares, what is shared, what a key decides, and refused arguments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.regularization.dropout import dropout_mask

DRAWING = {
    "Dropout": lambda: L.Dropout(0.5),
    "AlphaDropout": lambda: L.AlphaDropout(0.5),
    "GaussianDropout": lambda: L.GaussianDropout(0.5),
    "GaussianNoise": lambda: L.GaussianNoise(0.5),
    "SpatialDropout2D": lambda: L.SpatialDropout2D(0.5),
}
ONES = torch.ones(4, 3, 3, 32)


def trained(layer: L.Layer, inputs: torch.Tensor, key: int = 1) -> torch.Tensor:
    with call_context(CallContext(training=True, key=key)):
        output: torch.Tensor = layer(inputs)
    return output


@pytest.mark.parametrize("name", DRAWING)
def test_a_key_decides_the_draw_and_another_key_or_layer_seed_gives_another(name: str):
    layer = DRAWING[name]()
    seeded = type(layer)(0.5, seed=9)
    assert torch.equal(trained(layer, ONES), trained(layer, ONES))
    assert not torch.equal(trained(layer, ONES), trained(layer, ONES, key=2))
    assert not torch.equal(trained(layer, ONES), trained(seeded, ONES))


@pytest.mark.parametrize("name", DRAWING)
def test_two_calls_in_one_pass_draw_differently(name: str):
    layer = DRAWING[name]()
    with call_context(CallContext(training=True, key=1)):
        assert not torch.equal(layer(ONES), layer(ONES))


@pytest.mark.parametrize("name", DRAWING)
def test_nothing_is_drawn_from_the_generator_of_torch(name: str):
    before = torch.get_rng_state()
    trained(DRAWING[name](), ONES)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", DRAWING)
def test_inference_hands_the_inputs_on(name: str):
    assert torch.equal(DRAWING[name]()(ONES), ONES)


@pytest.mark.parametrize("name", [*DRAWING, "ActivityRegularization"])
def test_a_mask_of_the_inputs_is_that_of_the_output(name: str):
    inputs = torch.ones(4, 3, 3, 32)
    inputs._keras_mask = torch.ones(4, 3, dtype=torch.bool)  # type: ignore[attr-defined]
    layer = DRAWING.get(name, L.ActivityRegularization)()
    assert torch.equal(layer(inputs, training=True)._keras_mask, inputs._keras_mask)


@settings(max_examples=40)
@given(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 0.99]), st.sampled_from(["float32", "float64", "bfloat16"]), st.integers(0, 99))
def test_a_dropout_mask_has_the_share_and_the_scale_of_its_rate(rate: float, dtype: str, key: int):
    like = torch.empty(200, 301, dtype=getattr(torch, dtype))
    with call_context(CallContext(training=True, key=key)):
        mask = dropout_mask(L.Dropout(rate), like, rate)
    dropped = float((mask == 0).double().mean())
    assert mask.dtype is like.dtype and mask.shape == like.shape
    assert dropped == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / mask.numel()))
    assert torch.equal(mask[mask != 0].unique(), torch.ones(1, dtype=like.dtype).div_(1 - rate))


def test_the_decisions_of_dropout_do_not_depend_on_each_other():
    mask = (trained(L.Dropout(0.5), torch.ones(400, 500)) > 0).double() - 0.5
    for lag in (1, 2, 3, 7, 8, 500):
        flat = mask.flatten()
        assert abs(float((flat[lag:] * flat[:-lag]).mean())) < 5 * 0.25 / math.sqrt(flat.numel())


def test_dropout_scales_what_it_keeps_and_so_its_gradient():
    inputs = torch.full((50, 50), 3.0, requires_grad=True)
    output = trained(L.Dropout(0.25), inputs)
    assert sorted(output.detach().unique().tolist()) == [0, 4]
    output.sum().backward()
    assert inputs.grad is not None and torch.equal(inputs.grad, output.detach() / 3)


def test_a_noise_shape_shares_decisions_along_an_axis():
    output = trained(L.Dropout(0.5, noise_shape=(None, 1, 32)), torch.ones(4, 9, 32))
    assert torch.equal(output, output[:, :1].expand(4, 9, 32)) and output.unique().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("layer", "shape", "together"),
    [
        (L.SpatialDropout1D(0.5), (4, 5, 32), (1,)),
        (L.SpatialDropout2D(0.5), (4, 5, 6, 32), (1, 2)),
        (L.SpatialDropout2D(0.5, "channels_first"), (4, 32, 5, 6), (2, 3)),
        (L.SpatialDropout3D(0.5), (4, 5, 6, 2, 32), (1, 2, 3)),
        (L.SpatialDropout3D(0.5, "channels_first"), (4, 32, 5, 6, 2), (2, 3, 4)),
    ],
)
def test_spatial_dropout_drops_a_channel_of_a_sample_as_a_whole(layer: L.Layer, shape: tuple[int, ...], together: tuple[int, ...]):
    output = trained(layer, torch.ones(shape))
    assert torch.equal(output.amin(together), output.amax(together)) and output.unique().tolist() == [0, 2]


def test_gaussian_noise_has_its_deviation_around_the_inputs():
    noise = trained(L.GaussianNoise(0.5), torch.full((200, 200), 10.0)) - 10
    assert float(noise.mean()) == pytest.approx(0, abs=0.0125) and float(noise.std()) == pytest.approx(0.5, rel=0.02)


def test_gaussian_dropout_keeps_the_mean_and_has_the_variance_of_dropout():
    output = trained(L.GaussianDropout(0.2), torch.full((200, 200), 2.0)) / 2
    assert float(output.mean()) == pytest.approx(1, abs=0.0125)
    assert float(output.var()) == pytest.approx(0.2 / 0.8, rel=0.04)


def test_alpha_dropout_puts_the_saturation_of_selu_and_keeps_mean_and_variance():
    a = (0.5 * (1 + 0.5 * 1.7580993408473766**2)) ** -0.5
    output = trained(L.AlphaDropout(0.5), torch.ones(50, 50))
    assert output.unique().tolist() == pytest.approx([a * (0.5 - 1) * 1.7580993408473766, a * (1 + 0.5 * 1.7580993408473766)], rel=1e-6)

    normal = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    output = trained(L.AlphaDropout(0.3), normal)
    assert float(output.mean()) == pytest.approx(0, abs=0.02) and float(output.var()) == pytest.approx(1, abs=0.02)


def test_an_activity_penalty_is_divided_by_the_batch():
    layer = L.ActivityRegularization(l1=0.5, l2=2.0)
    with call_context(CallContext(training=True, key=1)) as context:
        layer(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    assert [float(loss) for loss in context.losses] == [(0.5 * 6 + 2 * 14) / 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Dropout(1.5), r"Dropout: Invalid value received for argument `rate`.*rate=1.5, expected a number from 0 to 1"),
        (lambda: L.Dropout("half"), r"Dropout: .* Received: rate='half'"),
        (lambda: L.Dropout(0.5, noise_shape=3), r"`noise_shape`. Expected a tuple or list of integers. Received: noise_shape=3"),
        (lambda: L.Dropout(0.5, noise_shape=(0, 2)), r"positive integers or None. Received: noise_shape=\(0, 2\), expected"),
        (lambda: L.Dropout(0.5, noise_shape="abc"), "noise_shape='abc'"),
        (lambda: L.SpatialDropout2D(-0.1), r"SpatialDropout2D: .* Received: rate=-0.1"),
        (lambda: L.SpatialDropout3D(0.1, data_format="last"), r"SpatialDropout3D\(data_format='last'\)"),
        (lambda: L.GaussianNoise(2), r"GaussianNoise\(stddev=2\)"),
        (lambda: L.GaussianDropout(1), "below 1"),
        (lambda: L.AlphaDropout(1.0), "below 1"),
        (lambda: L.ActivityRegularization(l1=-1), "l1=-1"),
        (lambda: L.Dropout(0.5, noise=2), "no such argument"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(L.Dropout(0.5, (None,)), (2, 3)), (L.Dropout(0.5, (None, 2)), (2, 3)), (L.SpatialDropout1D(0.5), (2, 3))],
)
def test_inputs_of_another_shape_are_refused(layer: L.Layer, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        trained(layer, torch.ones(shape))
