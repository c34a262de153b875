"""Weights and states as Keras's variables: their methods, what is known of them, and that they stay tensors and parameters."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import disttrain as dt
from disttrain import layers
from disttrain.elastic.shipping import pack, unpack


class ComputeSum(layers.Layer):
    """Of Keras's guide to layers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.total = self.add_weight(initializer="zeros", shape=(size,), trainable=False)

    def call(self, inputs):
        self.total.assign_add(dt.ops.sum(inputs, axis=0))
        return self.total


def built_dense() -> layers.Dense:
    layer = layers.Dense(2)
    layer.build((None, 3))
    return layer


def test_a_kernel_is_a_variable_a_parameter_and_a_tensor():
    kernel = built_dense().kernel
    assert isinstance(kernel, dt.Variable) and isinstance(kernel, nn.Parameter) and isinstance(kernel, torch.Tensor)
    assert type(kernel * 2) is torch.Tensor and type(kernel.detach()) is torch.Tensor


def test_assigning_changes_the_weight_in_place_and_gives_the_new_values():
    layer = built_dense()
    kernel, memory = layer.kernel, layer.kernel.data_ptr()
    assert kernel.assign(np.full((3, 2), 2.0)).tolist() == [[2.0, 2.0]] * 3
    assert kernel.assign_add([[1.0, 2.0]] * 3).tolist() == [[3.0, 4.0]] * 3
    after = kernel.assign_sub(1.0)
    kernel.assign(np.zeros((3, 2)))
    assert after.tolist() == [[2.0, 3.0]] * 3  # a copy, not the weight
    assert layer.kernel is kernel and kernel.data_ptr() == memory and kernel.requires_grad


def test_another_shape_is_refused_and_nothing_is_changed():
    bias = built_dense().bias
    with pytest.raises(ValueError, match=r"must match. variable.shape=\(2,\), Received: value.shape=\(1,\). Target variable: dense.*/bias"):
        bias.assign([1.0])
    assert bias.numpy().tolist() == [0.0, 0.0]


def test_numpy_gives_a_copy_that_training_does_not_change():
    kernel = built_dense().kernel
    before, array = kernel.numpy(), np.array(kernel)
    kernel.assign_add(1.0)
    assert (before == array).all() and (kernel.numpy() - before > 0.5).all()


def test_gradients_flow_through_the_value():
    layer = built_dense()
    (layer.kernel.value * 3.0).sum().backward()
    assert layer.kernel.grad.tolist() == [[3.0, 3.0]] * 3


def test_names_and_paths_are_those_of_keras():
    dt.clear_session()
    model = dt.Sequential([dt.Input((4, 2)), layers.LSTM(3), layers.Dense(1)])
    assert [weight.path for weight in model.weights][:3] == [
        "sequential/lstm/lstm_cell/kernel",
        "sequential/lstm/lstm_cell/recurrent_kernel",
        "sequential/lstm/lstm_cell/bias",
    ]
    assert [weight.name for weight in model.layers[1].weights] == ["kernel", "bias"]
    assert [variable.name for variable in dt.metrics.Mean().variables] == ["total", "count"]


def test_a_constraint_set_on_a_weight_holds_in_training():
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1, kernel_regularizer="l2")])
    kernel = model.layers[0].kernel
    assert isinstance(kernel.regularizer, dt.regularizers.L2) and kernel.constraint is None
    kernel.constraint = dt.constraints.NonNeg()
    kernel.regularizer = None
    assert model.losses == []
    model.compile(dt.optimizers.SGD(1.0), "mse")
    model.fit(np.ones((4, 3), "float32"), np.full((4, 1), -9.0, "float32"), verbose=0)
    assert (kernel.numpy() == 0.0).all()


def test_a_weight_is_frozen_by_itself():
    layer = built_dense()
    layer.bias.trainable = False
    assert layer.trainable_weights == [layer.kernel] and layer.non_trainable_weights == [layer.bias]
    state = ComputeSum(2).total
    with pytest.raises(ValueError, match="made with trainable=False"):
        state.trainable = True


def test_a_layer_may_add_to_a_state_in_its_call():
    layer = ComputeSum(2)
    assert layer(np.ones((2, 2), "float32")).numpy().tolist() == [2.0, 2.0]
    assert layer(np.ones((2, 2), "float32")).numpy().tolist() == [4.0, 4.0]
    assert layer.weights == [layer.total] == layer.non_trainable_weights and layer.trainable_weights == []


def test_symbolic_calls_leave_states_alone():
    class Counts(layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return inputs

    layer = Counts()
    layer(dt.Input((2,)))
    assert float(layer.calls) == 0.0
    layer(np.ones((1, 2), "float32"))
    assert float(layer.calls) == 1.0


def test_a_variable_of_ones_own_is_a_weight_of_the_layer_that_holds_it():
    class Scaled(layers.Layer):
        def __init__(self):
            super().__init__()
            self.factor = dt.Variable(2.0, name="factor")
            self.seen = dt.Variable("zeros", shape=(), dtype="int32", trainable=False)

        def call(self, inputs):
            self.seen.assign_add(1)
            return inputs * self.factor

    layer = Scaled()
    assert layer(np.ones((1, 1), "float32")).tolist() == [[2.0]]
    assert layer.trainable_weights == [layer.factor] and layer.non_trainable_weights == [layer.seen] and int(layer.seen) == 1
    assert list(layer.state_dict()) == ["factor", "seen"]


def test_an_initializer_needs_a_shape():
    with pytest.raises(ValueError, match="the `shape` argument should be specified"):
        dt.Variable("zeros")


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: unpack(pack(x))], ids=["deepcopy", "pickle", "shipped"]
)
def test_a_copy_has_variables_of_its_own(copied):
    layer = layers.BatchNormalization(gamma_constraint="non_neg")
    layer.build((None, 2))
    twin = copied(layer)
    assert [type(weight) for weight in twin.weights] == [type(weight) for weight in layer.weights]
    assert [weight.path for weight in twin.weights] == [weight.path for weight in layer.weights]
    twin.gamma.constraint = None
    twin.moving_mean.assign([5.0, 5.0])
    assert layer.gamma.constraint is not None and layer.moving_mean.numpy().tolist() == [0.0, 0.0]


def test_a_state_stays_a_variable_where_the_layer_moves_to_another_dtype():
    layer = ComputeSum(2).to(torch.float64)
    layer.total.assign([1.0, 2.0])
    assert layer.total.dtype is torch.float64 and layer.weights == [layer.total]


def test_training_leaves_the_variables_in_place():
    model = dt.Sequential([dt.Input((2,)), layers.Dense(2), layers.BatchNormalization()])
    before = list(model.weights)
    model.compile("adam", "mse")
    model.fit(np.ones((8, 2), "float32"), np.ones((8, 2), "float32"), batch_size=4, verbose=0)
    assert all(now is then for now, then in zip(model.weights, before, strict=True))


def test_functions_of_numpy_take_a_variable_for_an_array():
    variable = dt.Variable([[3.0, 1.0], [2.0, 4.0]])
    assert np.min(variable) == 1.0 and np.allclose(np.mean(variable, axis=0), [2.5, 2.5])
    assert np.concatenate([variable, variable], axis=1).shape == (2, 4) and np.allclose(variable, [[3.0, 1.0], [2.0, 4.0]])


def test_weights_of_bfloat16_are_arrays_that_hold_them_exactly():
    layer = layers.Dense(2, dtype="bfloat16", bias_initializer="ones")
    layer.build((None, 3))
    kernel, bias = layer.get_weights()
    assert kernel.dtype == np.float32 and bias.tolist() == [1.0, 1.0]
    layer.set_weights([kernel, bias])
    assert np.array_equal(layer.get_weights()[0], kernel)


def test_a_scope_stands_in_front_of_names():
    with dt.name_scope("outer"), dt.name_scope("inner"):
        variable = dt.Variable([1.0], name="scale")
    assert variable.path == "outer/inner/scale" and dt.Variable([1.0], name="scale").path == "scale"
    with pytest.raises(ValueError, match="without '/'"), dt.name_scope("a/b"):
        pass
