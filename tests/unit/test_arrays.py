"""Arrays, lists and numbers in a tensor's place: activations, constraints, regularizers, initializers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import activations, constraints, initializers, layers, regularizers

VALUES = [[-1.5, 0.25], [0.5, 2.0]]
FURTHER = {"threshold": (0.3, 7.0)}


@pytest.mark.parametrize("name", activations.BY_NAME)
@pytest.mark.parametrize("given", [VALUES, np.array(VALUES, "float32")], ids=["list", "array"])
def test_an_activation_takes_lists_and_arrays(name, given):
    expected = activations.BY_NAME[name](torch.tensor(VALUES), *FURTHER.get(name, ()))
    assert torch.equal(activations.BY_NAME[name](given, *FURTHER.get(name, ())), expected)


def test_an_activation_takes_a_number():
    assert float(activations.relu(-2.0)) == 0.0 and activations.sigmoid(0.0).dtype is torch.float32


def test_an_activation_of_a_symbolic_tensor_is_a_node_that_files_keep(tmp_path):
    x = dt.Input((3,))
    y = activations.softmax(activations.gelu(activations.linear(x), approximate=True))
    model = dt.Model(x, y)
    data = np.array([[-1.0, 0.5, 2.0]], "float32")
    expected = torch.softmax(torch.nn.functional.gelu(torch.tensor(data), approximate="tanh"), -1)
    assert torch.equal(model(data), expected)
    model.save(tmp_path / "model.keras")
    assert torch.equal(dt.load_model(tmp_path / "model.keras")(data), expected)


def test_what_no_operation_takes_is_refused_by_name():
    with pytest.raises(TypeError, match=r"activations.relu\(max_value=...\) was called on a symbolic tensor"):
        activations.relu(dt.Input((3,)), max_value=6.0)


@pytest.mark.parametrize("name", constraints.BY_NAME)
def test_a_constraint_takes_lists_and_arrays(name):
    constraint = constraints.get(name)
    expected = constraint(torch.tensor(VALUES))
    assert torch.equal(torch.as_tensor(constraint(VALUES)), expected) or name == "constraint"
    assert np.array_equal(np.asarray(constraint(np.array(VALUES, "float32"))), expected.numpy())


@pytest.mark.parametrize("name", regularizers.BY_NAME)
def test_a_regularizer_takes_lists_and_arrays(name):
    regularizer = regularizers.get(name)
    expected = regularizer(torch.tensor(VALUES))
    assert torch.equal(regularizer(VALUES), expected) and torch.equal(regularizer(np.array(VALUES, "float32")), expected)


@pytest.mark.parametrize("name", sorted(set(initializers.CLASSES) - {"STFT"}))
@pytest.mark.parametrize("dtype", ["float32", np.float32, None, torch.float32])
def test_an_initializer_takes_dtypes_by_any_name_and_shapes_as_lists(name, dtype):
    initializer = initializers.CLASSES[name]()
    values = initializer([3, 3], dtype=dtype)
    assert values.dtype is torch.float32 and torch.equal(values, initializer((3, 3), torch.float32))
    assert initializer(shape=(2, 2), dtype="float64").dtype is torch.float64


def test_functions_of_numpy_are_initializers_and_those_of_torch():
    layer = layers.Layer()
    weight = layer.add_weight(shape=(2,), initializer=lambda shape, dtype=None: np.full(shape, 3.0, dtype=dtype), name="a")
    other = layer.add_weight(shape=(2,), initializer=lambda shape, dtype: torch.full(shape, 4.0, dtype=dtype), name="b")
    assert weight.tolist() == [3.0, 3.0] and other.tolist() == [4.0, 4.0]


def test_an_error_in_an_initializer_comes_out():
    with pytest.raises(TypeError, match="unsupported operand"):
        layers.Layer().add_weight(shape=(2,), initializer=lambda shape, dtype: None + 1)
