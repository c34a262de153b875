"""Numbers of Keras 3.15.1 (torch backend) for weights and inputs given by one formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.structure import flatten


def ramp(shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return (np.sin(np.arange(math.prod(shape)) * 1.3 + 0.5) * scale).astype("float32").reshape(shape)


IMG, SEQ, VEC = (torch.from_numpy(ramp(shape)) for shape in ((2, 5, 4, 2), (2, 4, 3), (3, 4)))
MASK = torch.tensor([[True, True, False, True], [False, True, True, False]])


def computed(layer: L.Layer, x: Tensor, **kwargs: Any) -> list[Tensor]:
    layer.build((None, *x.shape[1:]))
    layer.set_weights([ramp(tuple(w.shape), 0.5) + ("variance" in name) for name, w in layer.named_weights()])
    return flatten(layer(x, **kwargs))


@pytest.mark.parametrize(
    ("layer", "x", "kwargs", "shape", "first"),
    [
        (L.Dense(2, "tanh"), VEC, {}, (3, 2), [-0.065725, 0.339576, -0.202825, 0.214362, 0.127207, 0.35224]),
        (L.Conv2D(2, (3, 2), strides=2, padding="same"), IMG, {}, (2, 3, 2, 2), [0.41106, 0.45104, 0.556476, -0.028969, -0.184221]),
        (
            L.Conv2D(2, 2, dilation_rate=2, groups=2, activation="relu"),
            IMG,
            {},
            (2, 3, 2, 2),
            [0.609453, 0.420833, 0.196647, 0.202675, 0.0],
        ),
        (L.MaxPooling2D(2, padding="same"), IMG, {}, (2, 3, 2, 2), [0.803784, 0.973848, 0.902172, 0.912945, 0.637423]),
        (L.MaxPooling2D((3, 2), 1), IMG, {}, (2, 3, 3, 2), [0.803784, 0.973848, 0.979358, 0.788252, 0.979358]),
        (L.AveragePooling2D(2), IMG, {}, (2, 2, 2, 2), [0.082339, 0.113067, -0.044896, 0.100736, 0.057243]),
        (L.GlobalAveragePooling2D(), IMG, {}, (2, 2), [0.002659, 0.038753, 0.038519, 0.001575]),
        (L.BatchNormalization(), IMG, {}, (2, 5, 4, 2), [0.291301, 0.681295, 0.197073, -0.087309, 0.069614]),
        (L.BatchNormalization(), IMG, {"training": True}, (2, 5, 4, 2), [0.395528, 1.14449, 0.246841, -0.18311, 0.045715]),
        (L.LayerNormalization(), IMG, {}, (2, 5, 4, 2), [0.001937, 0.969912, 0.478941, 0.000984]),
        (L.LayerNormalization(axis=[2, 3]), IMG, {}, (2, 5, 4, 2), [0.352104, 1.082594, 0.016647, 0.340129]),
        (L.LSTM(2, return_sequences=True), SEQ, {}, (2, 4, 2), [-0.153176, 0.004388, 0.074025, 0.064562, -0.240336]),
        (L.LSTM(2, go_backwards=True), SEQ, {}, (2, 2), [-0.121103, 0.059875, -0.078795, 0.141429]),
        (L.LSTM(2, return_sequences=True), SEQ, {"mask": MASK}, (2, 4, 2), [-0.153176, 0.004388, 0.074025, 0.064562, 0.074025, 0.064562]),
        (L.LSTM(2, "relu", "hard_sigmoid"), SEQ, {}, (2, 2), [0.035089, 0.107964, 0.082256, 0.244021]),
        (L.GRU(2, return_sequences=True), SEQ, {}, (2, 4, 2), [0.024419, 0.276327, 0.091503, 0.045983, -0.094473]),
        (L.GRU(2), SEQ, {"mask": MASK}, (2, 2), [0.203281, 0.269206, 0.144332, 0.083718]),
        (L.GRU(2, reset_after=False), SEQ, {}, (2, 2), [0.022243, 0.186148, -0.323282, 0.012966]),
        (L.GRU(2, use_bias=False), SEQ, {}, (2, 2), [0.206104, -0.092713, -0.253493, -0.24299]),
        (L.SimpleRNN(2, return_sequences=True), SEQ, {}, (2, 4, 2), [0.348236, 0.264247, -0.091517, 0.49694, 0.613697]),
        (
            L.SimpleRNN(2, return_sequences=True, zero_output_for_mask=True),
            SEQ,
            {"mask": MASK},
            (2, 4, 2),
            [0.348236, 0.264247, -0.091517, 0.49694, 0.0, 0.0, -0.058029, -0.09176],
        ),
        (L.Softmax(), VEC, {"mask": torch.tensor([True, False, True, True])}, (3, 4), [0.530648, 0.0, 0.342494, 0.126858]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_layer_gives_the_numbers_of_keras(layer: L.Layer, x: Tensor, kwargs: Any, shape: tuple[int, ...], first: list[float]):
    result = computed(layer, x, **kwargs)[0]
    assert tuple(result.shape) == shape
    assert result.detach().flatten()[: len(first)].tolist() == pytest.approx(first, abs=2e-6)


def test_an_lstm_returns_its_states_as_h_then_c():
    output, hidden, carry = computed(L.LSTM(2, return_state=True), SEQ)
    assert torch.equal(output, hidden)
    assert hidden.flatten().tolist() == pytest.approx([-0.05627, 0.070302, -0.222225, 0.205214], abs=2e-6)
    assert carry.flatten().tolist() == pytest.approx([-0.124533, 0.135331, -0.310596, 0.45638], abs=2e-6)


def test_moving_statistics_follow_with_momentum_099_and_the_biased_variance():
    layer = L.BatchNormalization()
    computed(layer, IMG, training=True)
    assert layer.moving_mean.tolist() == pytest.approx([0.237522, 0.482256], abs=2e-6)
    assert layer.moving_variance.tolist() == pytest.approx([1.232288, 1.477032], abs=2e-6)


def test_batch_statistics_by_hand():
    layer = L.BatchNormalization(momentum=0.5)
    y = layer(torch.tensor([[1.0], [3.0]]), training=True)  # mean 2, biased variance 1
    assert y.flatten().tolist() == pytest.approx([-1 / math.sqrt(1.001), 1 / math.sqrt(1.001)])
    assert layer.moving_mean.tolist() == [1.0] and layer.moving_variance.tolist() == [1.0]


def test_a_batch_of_one_value_is_normalised_to_beta():
    layer = L.BatchNormalization(momentum=0.5)
    assert layer(torch.tensor([[5.0, 7.0]]), training=True).tolist() == [[0.0, 0.0]]
    assert layer.moving_mean.tolist() == [2.5, 3.5] and layer.moving_variance.tolist() == [0.5, 0.5]


def test_a_frozen_batch_normalisation_infers_and_keeps_its_statistics():
    layer = L.BatchNormalization()
    layer.build((None, 1))
    layer.trainable = False
    y = layer(torch.tensor([[1.0], [3.0]]), training=True)
    assert y.flatten().tolist() == pytest.approx([1 / math.sqrt(1.001), 3 / math.sqrt(1.001)])
    assert layer.moving_mean.tolist() == [0.0] and layer.trainable_weights == [] and len(layer.non_trainable_weights) == 4


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
def test_the_fused_kernel_and_the_step_by_step_walk_agree(cls: Any):
    torch.manual_seed(1)
    layer, x = cls(5, return_sequences=True, return_state=True), torch.randn(3, 7, 4)
    fused = layer(x)
    walked = layer(x, mask=torch.ones(3, 7, dtype=torch.bool))
    for one, two in zip(fused, walked, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_recurrent_layers_start_from_given_states():
    layer = L.GRU(2)
    x = torch.from_numpy(ramp((1, 4, 3)))
    head = layer(x[:, :2])
    torch.testing.assert_close(layer(x[:, 2:], initial_state=head), layer(x))


def test_average_pooling_with_same_padding_divides_by_what_is_there():
    y = L.AveragePooling2D(2, padding="same")(torch.arange(9.0).reshape(1, 3, 3, 1))
    assert y.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]  # corner windows hold 4, 2, 2 and 1 values


def test_the_forget_bias_of_an_lstm_starts_at_one():
    layer = L.LSTM(2)
    layer.build((None, 3, 1))
    assert layer.cell.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_dropout_zeroes_its_share_and_scales_the_rest():
    with call_context(CallContext(training=True, key=3)):
        y = L.Dropout(0.25)(torch.ones(4000))
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert 0.23 < (y == 0).float().mean() < 0.27
    assert L.Dropout(1.0)(torch.ones(3), training=True).tolist() == [0, 0, 0]
    assert L.Dropout(0.5)(torch.ones(3)).tolist() == [1, 1, 1]


def test_dropout_masks_differ_between_keys_layers_seeds_and_calls_of_one_layer():
    one, two, seeded = L.Dropout(0.5), L.Dropout(0.5), L.Dropout(0.5, seed=1)
    two._layer_id = 1
    x = torch.ones(64)
    with call_context(CallContext(training=True, key=3)):
        masks = [one(x), one(x), two(x), seeded(x)]
    with call_context(CallContext(training=True, key=4)):
        masks.append(one(x))
    with call_context(CallContext(training=True, key=3)):
        assert torch.equal(one(x), masks[0])
    assert len({tuple(mask.tolist()) for mask in masks}) == 5


def test_recurrent_dropout_uses_one_mask_for_all_steps():
    layer = L.SimpleRNN(3, activation="linear", use_bias=False, dropout=0.5, return_sequences=True, recurrent_initializer="zeros")
    with call_context(CallContext(training=True, key=0)):
        y = layer(torch.ones(1, 6, 8))
    assert torch.equal(y[:, :1].expand_as(y), y)


def test_embedding_cuts_floats_and_keeps_large_integers_apart():
    layer = L.Embedding(3, 2, weights=np.arange(6.0).reshape(3, 2))
    assert layer(torch.tensor([[2.9, 0.0]])).tolist() == [[[4, 5], [0, 1]]]
    assert layer(torch.tensor([1], dtype=torch.uint8)).tolist() == [[2, 3]]


def test_rescaling_makes_bytes_floats():
    assert L.Rescaling(1 / 255)(torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[0.0, 1.0]]
