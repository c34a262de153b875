"""States that are given, returned, and kept from batch to batch."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.models import Model, Sequential


def test_a_sequence_may_be_cut_in_two_with_the_states_handed_over():
    layer, x = L.LSTM(3, return_sequences=True, return_state=True), torch.randn(2, 6, 2)
    whole = layer(x)
    head, *states = layer(x[:, :2])
    tail = layer(x[:, 2:], initial_state=states)
    torch.testing.assert_close(torch.cat([head, tail[0]], 1), whole[0])
    torch.testing.assert_close(tail[2], whole[2])


def test_initial_states_may_be_symbolic_and_come_from_another_layer():
    source, target = L.Input((5, 2)), L.Input((4, 2))
    _, h, c = L.LSTM(3, return_state=True)(source)
    decoder = L.LSTM(3, return_sequences=True)
    model = Model([source, target], decoder(target, initial_state=[h, c]))
    assert model.output_shape == (None, 4, 3)
    one, two = torch.randn(2, 5, 2), torch.randn(2, 4, 2)
    assert not torch.allclose(model([one, two]), decoder(two))


@pytest.mark.parametrize("fused", ["auto", False])
def test_a_stateful_layer_goes_on_where_the_batch_before_ended(fused: Any):
    layer = L.LSTM(3, stateful=True, use_cudnn=fused)
    plain = L.LSTM(3, return_state=True)
    plain.build((2, 2, 2))
    x = torch.randn(2, 4, 2)
    layer(x[:, :2])
    plain.set_weights([weight.detach().numpy() for weight in layer.trainable_weights])
    layer.reset_state()
    layer(x[:, :2])
    torch.testing.assert_close(layer(x[:, 2:]), plain(x)[0])
    for kept, expected in zip(layer.states, plain(x)[1:], strict=True):
        torch.testing.assert_close(kept, expected)


def test_reset_state_sets_what_is_kept_to_zeros():
    layer = L.GRU(3, stateful=True)
    first = layer(torch.ones(2, 3, 1))
    assert layer.states[0].any() and not torch.allclose(layer(torch.ones(2, 3, 1)), first)
    layer.reset_state()
    assert not layer.states[0].any() and torch.equal(layer(torch.ones(2, 3, 1)), first)


def test_no_gradient_flows_from_batch_to_batch():
    layer, x = L.GRU(3, stateful=True), torch.randn(2, 3, 1, requires_grad=True)
    layer(x)
    layer(torch.randn(2, 3, 1)).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("cuts", [[0, 4], [0, 1, 4], [0, 2, 3, 4]])
def test_a_slice_of_the_batch_reads_and_writes_its_own_rows_only(cuts: list[int]):
    whole = L.Bidirectional(L.LSTM(3, stateful=True))
    x = torch.randn(2, 4, 5, 2)
    whole.build((4, 5, 2))
    sliced = copy.deepcopy(whole)
    for batch in x:
        expected = whole(batch)
        found = []
        for first, stop in itertools.pairwise(cuts):
            with call_context(CallContext(training=True, key=1, rows=(first, stop, 4))):
                found.append(sliced(batch[first:stop]))
        torch.testing.assert_close(torch.cat(found), expected)
    for one, two in zip(whole.states, sliced.states, strict=True):
        torch.testing.assert_close(one, two)


def test_states_of_each_kind_are_kept_as_row_states():
    layer = L.RNN([L.LSTMCell(3), L.GRUCell(2)], stateful=True)
    layer(torch.ones(4, 2, 1))
    assert [list(map(tuple, (s.shape for s in state))) if isinstance(state, list) else tuple(state.shape) for state in layer.states] == [
        [(4, 3), (4, 3)],
        (4, 2),
    ]
    assert layer._row_states == {"rnn_state_0", "rnn_state_1", "rnn_state_2"}
    assert len(layer.trainable_weights) == 6 and all(not state.requires_grad for state in layer._buffers.values())


def test_a_model_with_a_static_batch_trains_and_a_copy_has_states_of_its_own():
    model = Sequential([L.Input((3, 1), batch_size=2), L.GRU(3, stateful=True, return_sequences=True), L.SimpleRNN(2, stateful=True)])
    twin = copy.deepcopy(model)
    first = model(torch.ones(2, 3, 1))
    assert not torch.equal(model(torch.ones(2, 3, 1)), first) and torch.equal(twin(torch.ones(2, 3, 1)), first)


def test_the_states_of_a_convolutional_layer_are_images():
    layer = L.ConvLSTM2D(2, 3, stateful=True)
    first = layer(torch.ones(2, 2, 5, 4, 1))
    assert [tuple(state.shape) for state in layer.states] == [(2, 3, 2, 2)] * 2
    assert not torch.equal(layer(torch.ones(2, 2, 5, 4, 1)), first)


def test_a_state_may_start_otherwise_than_with_zeros():
    class Counter(L.Layer):
        state_size = 1

        def get_initial_state(self, batch_size: int) -> torch.Tensor:
            return torch.full((batch_size, 1), 10.0)

        def call(self, inputs: torch.Tensor, states: list[torch.Tensor]) -> Any:
            return states[0] + 1, [states[0] + 1]

    assert L.RNN(Counter())(torch.zeros(1, 3, 1)).item() == 13
    layer = L.RNN(Counter(), stateful=True)
    assert [layer(torch.zeros(1, 3, 1)).item() for _ in range(2)] == [13, 16]


def test_a_stateful_layer_refuses_a_batch_that_is_not_known_or_another_one():
    with pytest.raises(ValueError, match=r"GRU 'gru': stateful=True needs a batch size that is known[\s\S]*batch_size="):
        L.GRU(2, stateful=True)(L.Input((3, 1)))
    layer = L.GRU(2, stateful=True)
    layer(torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match=r"keeps states of a batch of 2, got a batch of 3"):
        layer(torch.zeros(3, 3, 1))


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([torch.zeros(2, 3)], "got 1 initial states, expected 2"),
        ([torch.zeros(2, 3), torch.zeros(2, 4)], r"initial state 1 has shape \(2, 4\), expected \(2, 3\)"),
        ([torch.zeros(1, 3), torch.zeros(2, 3)], r"initial state 0 has shape \(1, 3\), expected \(2, 3\)"),
    ],
)
def test_initial_states_that_do_not_fit_are_refused(states: list[torch.Tensor], reason: str):
    with pytest.raises(ValueError, match=reason):
        L.LSTM(3)(torch.zeros(2, 4, 1), initial_state=states)


def test_without_stateful_there_is_nothing_to_reset():
    layer = L.LSTM(2)
    layer(torch.zeros(1, 2, 1))
    layer.reset_state()
    assert layer.states is None
    with pytest.raises(AttributeError, match="its layers keep no states"):
        L.Bidirectional(L.LSTM(2)).reset_state()
