"""Bidirectional, TimeDistributed, and LSTMs over images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.models import Sequential

SUM = {"kernel_initializer": "ones", "recurrent_initializer": "ones", "use_bias": False, "activation": None}
X = torch.tensor([[[1.0], [2.0], [4.0]]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sum", [8, 9, 11]),
        ("mul", [7, 18, 28]),
        ("ave", [4, 4.5, 5.5]),
        ("concat", [1, 7, 3, 6, 7, 4]),
    ],
)
def test_both_directions_are_merged_step_by_step(mode: str, expected: list[float]):
    layer = L.Bidirectional(L.SimpleRNN(1, **SUM, return_sequences=True), mode)
    assert layer(X).flatten().tolist() == expected  # 1 3 7 forwards, 7 6 4 backwards


def test_without_merging_both_outputs_come_and_then_the_states():
    layer = L.Bidirectional(L.SimpleRNN(1, **SUM, return_sequences=True, return_state=True), None)
    one, two, there, back = layer(X)
    assert one.flatten().tolist() == [1, 3, 7] and two.flatten().tolist() == [7, 6, 4] and there.item() == back.item() == 7
    assert layer.compute_output_shape((None, 3, 1)) == ((None, 3, 1), (None, 3, 1), (None, 1), (None, 1))


def test_masked_steps_are_zeros_in_both_directions():
    layer = L.Bidirectional(L.SimpleRNN(1, **SUM, return_sequences=True))
    assert layer(X, mask=torch.tensor([[True, False, True]])).tolist() == [[[1, 5], [0, 0], [5, 4]]]


def test_initial_states_are_cut_in_halves():
    layer = L.Bidirectional(L.SimpleRNN(1, **SUM))
    assert layer(X, initial_state=[torch.tensor([[10.0]]), torch.tensor([[100.0]])]).tolist() == [[17, 107]]
    with pytest.raises(ValueError, match="got 1 initial states, expected a list, half of it for each direction"):
        layer(X, initial_state=torch.ones(1, 1))


def test_the_two_layers_are_copies_with_names_of_their_own():
    inner = L.LSTM(2, name="reader", return_sequences=True, use_cudnn=False)
    inner.build((None, 3, 1))
    layer = L.Bidirectional(inner)
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_reader", "backward_reader")
    assert layer.forward_layer.zero_output_for_mask and layer.backward_layer.go_backwards and layer.backward_layer.use_cudnn is False
    assert not {id(w) for w in inner.weights} & {id(w) for w in layer.weights}
    assert not inner.zero_output_for_mask
    again = L.Bidirectional.from_config(layer.get_config())
    assert again.forward_layer.name == "forward_reader" and not {id(w) for w in again.weights} & {id(w) for w in layer.weights}


def test_a_cell_of_its_own_is_copied_too():
    layer = L.Bidirectional(L.RNN([L.GRUCell(2), L.GRUCell(3)]))
    assert layer(torch.ones(2, 4, 1)).shape == (2, 6)
    assert layer.forward_layer.cell is not layer.backward_layer.cell and len(layer.weights) == 12


def test_first_weights_may_be_given():
    values = [torch.full((1, 1), float(number)) for number in range(4)]
    layer = L.Bidirectional(L.SimpleRNN(1, use_bias=False), weights=values)
    layer.build((None, 3, 1))
    assert [weight.item() for weight in layer.get_weights()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: L.Bidirectional(L.Dense(2)), r"Bidirectional\(layer=.*expected a recurrent layer"),
        (lambda: L.Bidirectional(L.LSTM(2), backward_layer=L.Dense(2)), r"Bidirectional\(backward_layer=.*expected a recurrent layer"),
        (lambda: L.Bidirectional(L.LSTM(2), "max"), r"Bidirectional\(merge_mode='max'\): expected 'sum', 'mul', 'ave', 'concat' or None"),
        (lambda: L.Bidirectional(L.LSTM(2), backward_layer=L.LSTM(2)), "both layers have go_backwards=False"),
        (
            lambda: L.Bidirectional(L.LSTM(2), backward_layer=L.LSTM(2, go_backwards=True, return_sequences=True)),
            "layer has return_sequences=False, backward_layer return_sequences=True",
        ),
        (lambda: L.TimeDistributed(torch.relu), r"supplied to TimeDistributed isn't a supported layer type"),
        (lambda: L.TimeDistributed(L.Dense(2))(torch.zeros(2, 3)), r"expected 3 axes or more, \(batch, time, ...\)"),
        (
            lambda: L.TimeDistributed(L.Dense(2))(X, mask=torch.ones(1, 4)),
            r"`mask` passed to the `TimeDistributed` layer has a shape of \(1, 4\)",
        ),
        (lambda: L.ConvLSTM2D(2, 9)(torch.zeros(1, 2, 4, 4, 1)), "does not fit"),
        (lambda: L.ConvLSTM2D(2, 3)(torch.zeros(1, 2, 4, 1)), r"expected \(batch, time, rows, columns, channels\)"),
        (lambda: L.ConvLSTM2D(2, 3)(L.Input((2, None, 4, 1))), "all sizes but the batch must be known"),
        (lambda: L.ConvLSTM2D(2, 3, strides=2, dilation_rate=2), r"only one of them may be more than 1"),
        (lambda: L.ConvLSTM2D(0, 3), r"ConvLSTM2D\(filters=0\): expected an integer, 1 or more"),
    ],
)
def test_what_does_not_fit_is_named(make: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        make()


def test_a_model_is_applied_to_every_step():
    model = Sequential([L.Conv2D(2, 2), L.Flatten(), L.Dense(3)])
    layer = L.TimeDistributed(model)
    x = torch.randn(2, 5, 4, 4, 1)
    y = layer(x)
    assert y.shape == (2, 5, 3) and layer.compute_output_shape((None, None, 4, 4, 1)) == (None, None, 3)
    torch.testing.assert_close(y[:, 3], model(x[:, 3]))


def test_statistics_of_a_batch_are_taken_step_by_step():
    layer = L.TimeDistributed(L.BatchNormalization(momentum=0.5, epsilon=1e-9))
    y = layer(torch.tensor([[[1.0], [10.0]], [[3.0], [30.0]]]), training=True)
    torch.testing.assert_close(y, torch.tensor([[[-1.0], [-1.0]], [[1.0], [1.0]]]))
    assert layer.layer.moving_mean.item() == pytest.approx(0.5 * (0.5 * 2) + 0.5 * 20)


class Centred(L.Layer):
    def call(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0)


def test_a_layer_of_the_users_own_sees_one_step_at_a_time():
    y = L.TimeDistributed(Centred())(torch.tensor([[[1.0], [10.0]], [[3.0], [30.0]]]))
    assert y.flatten().tolist() == [-1, -10, 1, 10]


def test_a_penalty_on_the_output_is_taken_at_every_step():
    layer = L.TimeDistributed(L.Dense(1, kernel_initializer="ones", activity_regularizer="l1"))
    layer(torch.ones(2, 3, 1))
    assert sum(loss.item() for loss in layer.losses) == pytest.approx(0.01 * 3)


def test_the_inner_layer_trains_as_the_outer_one_does_and_is_given_its_part_of_the_mask():
    with call_context(CallContext(training=True, key=1)):
        assert (L.TimeDistributed(L.Dropout(0.5))(torch.ones(2, 3, 50)) == 0).any()
    assert torch.equal(L.TimeDistributed(L.Dropout(0.5))(torch.ones(2, 3, 5)), torch.ones(2, 3, 5))
    counting = L.TimeDistributed(L.SimpleRNN(1, **SUM))
    mask = torch.tensor([[[True, True, True], [True, False, False]]])
    assert counting(torch.ones(1, 2, 3, 1), mask=mask).flatten().tolist() == [3, 1]


def test_several_outputs_of_the_inner_layer_get_the_time_axis_each():
    output, h, c = L.TimeDistributed(L.LSTM(3, return_state=True))(torch.zeros(2, 4, 5, 1))
    assert output.shape == h.shape == c.shape == (2, 4, 3)


def test_the_mask_of_the_input_goes_on():
    x = torch.ones(1, 3, 2)
    x._keras_mask = torch.tensor([[True, True, False]])
    assert L.TimeDistributed(L.Dense(2))(x)._keras_mask is x._keras_mask


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_channels_may_come_first_in_a_convolutional_lstm(padding: str, dropout: float):
    last = L.ConvLSTM2D(2, (2, 3), padding=padding, return_state=True, recurrent_dropout=0.0)
    first = L.ConvLSTM2D(2, (2, 3), padding=padding, return_state=True, data_format="channels_first", dropout=dropout)
    x = torch.randn(2, 3, 4, 5, 3)
    expected = last(x)
    first.build((None, 3, 3, 4, 5))
    first.set_weights(last.get_weights())
    assert first.compute_output_shape((None, 3, 3, 4, 5))[0] == (None, *expected[0].permute(0, 3, 1, 2).shape[1:])
    for one, two in zip(first(x.permute(0, 1, 4, 2, 3)), expected, strict=True):
        torch.testing.assert_close(one, two.permute(0, 3, 1, 2))
    with call_context(CallContext(training=True, key=1)):
        assert first(x.permute(0, 1, 4, 2, 3))[0].shape == expected[0].permute(0, 3, 1, 2).shape


def test_a_bidirectional_convolutional_lstm_runs():
    layer = L.Bidirectional(L.ConvLSTM1D(2, 3, padding="same", return_sequences=True))
    assert layer(torch.randn(2, 3, 5, 1)).shape == (2, 3, 5, 4)
