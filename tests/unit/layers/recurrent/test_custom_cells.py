"""Cells of the user's own, alone and stacked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import layers as L


class Sum(L.Layer):
    """`h' = h + w x`, with an output twice the state."""

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = self.state_size = size

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight("w", (), "ones")

    def call(self, inputs: Tensor, states: list[Tensor], training: bool = False) -> Any:
        total = states[0] + self.w * inputs
        return (3 if training else 2) * total, [total]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class Plain:
    """A cell that is no layer."""

    state_size = 1

    def call(self, inputs: Tensor, states: list[Tensor]) -> Any:
        return inputs, states[0] + 1


X = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [4.0, 0.0]]])


def test_a_cell_is_called_step_after_step():
    outputs, state = L.RNN(Sum(), return_sequences=True, return_state=True)(X)
    assert outputs.tolist() == [[[2, 0], [6, 2], [14, 2]]] and state.tolist() == [[7, 1]]


def test_a_cell_hears_whether_it_trains():
    assert L.RNN(Sum())(X, training=True).tolist() == [[21, 3]]


def test_a_masked_step_changes_neither_its_output_nor_its_state():
    outputs, state = L.RNN(Sum(), return_sequences=True, return_state=True)(X, mask=torch.tensor([[True, False, True]]))
    assert outputs.tolist() == [[[2, 0], [2, 0], [10, 0]]] and state.tolist() == [[5, 0]]


def test_a_cell_needs_not_be_a_layer_nor_give_its_state_in_a_list():
    output, state = L.RNN(Plain(), return_state=True)(X)
    assert output.tolist() == [[4, 0]] and state.tolist() == [[3]]


def test_cells_are_stacked_each_upon_the_outputs_of_the_one_below():
    outputs, below, above = L.RNN([Sum(), Sum()], return_sequences=True, return_state=True)(X)
    assert outputs[0, :, 0].tolist() == [4, 16, 44] and below.tolist() == [[7, 1]] and above[0, 0].item() == 22


def test_a_stack_walked_cell_by_cell_is_the_stack_called_step_by_step():
    torch.manual_seed(0)
    cells = L.StackedRNNCells([L.LSTMCell(3), L.GRUCell(2), Sum(2)])
    x = torch.randn(2, 4, 3)
    walked = L.RNN(cells, return_sequences=True)(x)
    states, stepped = cells.get_initial_state(2), []
    for time in range(4):
        output, states = cells(x[:, time], states)
        stepped.append(output)
    torch.testing.assert_close(walked, torch.stack(stepped, 1))


def test_a_subclass_of_a_cell_that_has_its_own_call_is_called():
    class Clipped(L.GRUCell):
        def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
            output, new = super().call(inputs, states, training)
            return output.clamp(min=0), [state.clamp(min=0) for state in new]

    assert (L.RNN(Clipped(8), return_sequences=True)(torch.randn(2, 5, 3)) >= 0).all()


def test_a_subclass_of_a_stack_that_has_its_own_call_is_called():
    class Residual(L.StackedRNNCells):
        def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
            output, new = super().call(inputs, states, training)
            return output + inputs, new

    assert L.RNN(Residual([Sum(), Sum()]))(X).tolist() == [[48, 8]]


def test_weights_of_cells_come_cell_by_cell_and_gradients_reach_them():
    layer = L.RNN([L.GRUCell(2), Sum(2)])
    layer(X).sum().backward()
    assert [tuple(weight.shape) for weight in layer.weights] == [(2, 6), (2, 6), (2, 6), ()]
    assert all(weight.grad is not None for weight in layer.weights)


def test_a_config_makes_a_layer_with_weights_of_its_own():
    layer = L.RNN([Sum(), L.LSTMCell(2)], return_state=True)
    layer(X)
    again = L.RNN.from_config(layer.get_config())
    assert again.cell is not layer.cell and again.built is False
    again(X)
    assert not {id(w) for w in again.weights} & {id(w) for w in layer.weights}
    assert [tuple(w.shape) for w in again.weights] == [tuple(w.shape) for w in layer.weights]


def test_under_mixed_precision_a_cell_computes_in_short_numbers():
    seen = []

    class Watching(Sum):
        def call(self, inputs: Tensor, states: list[Tensor], training: bool = False) -> Any:
            seen.append((inputs.dtype, states[0].dtype, self.w.dtype))
            return super().call(inputs, states, training)

    assert L.RNN(Watching(dtype="mixed_bfloat16"), dtype="mixed_bfloat16")(X).dtype is torch.bfloat16
    assert set(seen) == {(torch.bfloat16,) * 3}


def test_standalone_cells_take_a_state_or_a_list_and_give_the_same():
    cell, x, h = L.GRUCell(3), torch.randn(2, 4), torch.randn(2, 3)
    output, state = cell(x, h)
    listed = cell(x, [h])
    assert torch.equal(output, state) and isinstance(listed[1], list) and torch.equal(listed[1][0], output)
    with pytest.raises(ValueError, match="got 1 states, expected 2"):
        L.LSTMCell(3)(x, [h])
    with pytest.raises(ValueError, match=r"got inputs of shape \(2, 3\), expected \(batch, 4\)"):
        cell(torch.zeros(2, 3), h)


class Sizeless(L.Layer):
    def call(self, inputs: Tensor, states: Any) -> Any:
        return inputs, states


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: L.RNN(Sizeless(name="s")), r"RNN\(cell=<Sizeless name=s, built=False>\): the cell has state_size None"),
        (lambda: L.RNN(3), r"RNN\(cell=3\): expected a cell, with call\(inputs, states\)"),
        (lambda: L.RNN([L.GRUCell(2), 3]), r"StackedRNNCells\(cells\[1\]=3\): expected a cell"),
        (lambda: L.StackedRNNCells([]), r"StackedRNNCells\(cells=\[\]\): expected a list of one cell or more"),
        (lambda: L.RNN(Sum())(torch.zeros(3)), r"got an input of shape \(None,\), expected \(batch, time, ...\)"),
        (lambda: L.RNN(Sum())(torch.zeros(1, 0, 2)), "have no steps"),
        (lambda: L.GRUCell(0), r"GRUCell\(units=0\): expected an integer, 1 or more"),
        (lambda: L.LSTM(2.0), r"LSTM\(units=2.0\): expected an integer, 1 or more"),
        (lambda: L.LSTM(2, implementation=3), r"LSTM\(implementation=3\): expected 1 or 2"),
        (lambda: L.LSTM(2, dropuot=0.1), r"LSTM\(dropuot=0.1\): no such argument.\n  expected  one of dropout, "),
        (lambda: L.LSTM(2)(torch.zeros(2, 3)), r"got an input of shape \(None, 3\), expected \(batch, time, features\)"),
        (lambda: L.LSTM(2)(L.Input((3, None))), "the size of its last axis must be known"),
    ],
)
def test_what_is_wrong_is_named(make: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        make()


def test_inputs_of_another_width_than_the_layer_was_built_for_are_refused():
    layer = L.GRU(2)
    layer(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match=r"got inputs of shape \(1, 3, 5\), expected \(batch, time, 4\), as it was built for"):
        layer(torch.zeros(1, 3, 5))


def test_the_arguments_of_the_cell_are_attributes_of_the_layer():
    layer = L.GRU(2, "relu", recurrent_constraint="max_norm", dropout=0.1, seed=5)
    assert (layer.units, layer.dropout, layer.seed, layer.reset_after) == (2, 0.1, 5, True)
    assert layer.activation is layer.cell.activation and layer.recurrent_constraint is layer.cell.recurrent_constraint
    assert layer.cell.name == "gru_cell" and L.LSTM(1).cell.name == "lstm_cell" and L.SimpleRNN(1).cell.name == "simple_rnn_cell"
