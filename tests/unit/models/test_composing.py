"""Models put together: operators, masks, structures, subclasses, and what is said of mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from disttrain import layers as L
from disttrain.layers import ops
from disttrain.layers.context import CallContext, call_context
from disttrain.models import Input, Model, Sequential

X = torch.linspace(-1, 1, 12).reshape(3, 4)


# -- operators --------------------------------------------------------------------------------------------------------------------------


def test_every_operator_of_python_makes_a_node():
    x = Input((4,))
    results = [x + 1, 1 - x, x * 2, 2 / (x + 3), (x * 10) // 3, (x * 10) % 3, x**2, 2**x, -x, abs(x), round(x), x @ torch.ones(4, 2)]
    results += [x < 0, x <= 0, x > 0, x >= 0, x != 0, (x > 0) & (x < 1), (x > 0) | (x < -1), (x > 0) ^ (x < 1), ~(x > 0)]
    results += [x[:, 0], x[:, None], x[..., 1:3], x[:, ::2], x.reshape((-1, 2, 2)), x[:, :1].squeeze(-1)]
    outputs = Model(x, results)(X)
    expected = [X + 1, 1 - X, X * 2, 2 / (X + 3), (X * 10) // 3, (X * 10) % 3, X**2, 2**X, -X, X.abs(), X.round(), X @ torch.ones(4, 2)]
    expected += [X < 0, X <= 0, X > 0, X >= 0, X != 0, (X > 0) & (X < 1), (X > 0) | (X < -1), (X > 0) ^ (X < 1), ~(X > 0)]
    expected += [X[:, 0], X[:, None], X[..., 1:3], X[:, ::2], X.reshape(-1, 2, 2), X[:, 0]]
    for one, two, symbolic in zip(outputs, expected, results, strict=True):
        torch.testing.assert_close(one, two)
        assert symbolic.shape == (None, *two.shape[1:])


def test_a_symbolic_tensor_is_itself_and_has_no_value():
    x, y = Input((4,)), Input((4,))
    assert x == x and x in [y, x] and len({x, y}) == 2
    for use in (bool, int, float, list, np.asarray):
        with pytest.raises(TypeError, match="has no value"):
            use(x)
    with pytest.raises(TypeError, match=r"torch\.relu was called on a symbolic tensor[\s\S]*disttrain\.ops\.relu"):
        torch.relu(x)
    with pytest.raises(TypeError, match="TorchModule"):
        nn.Linear(4, 2)(x)


def test_a_constant_array_beside_a_symbolic_tensor_follows_the_model_to_its_device():
    x = Input((4,))
    model = Model(x, np.array([1.0, 2.0, 3.0, 4.0], dtype="float32") * x)
    assert torch.equal(model(X), X * torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_operations_keep_the_dtype_of_their_inputs():
    x = Input((4,), dtype="int32")
    model = Model(x, [x * 2, x / 2, ops.cast(x, "float16") + 1, ops.mean(x, axis=-1)])
    assert [output.dtype for output in model(torch.ones(1, 4))] == [torch.int32, torch.float32, torch.float16, torch.float32]


def test_functions_of_tensors_work_inside_a_layer_and_under_autograd():
    class Softened(L.Layer):
        def call(self, x: Any) -> Any:
            return ops.where(x > 0, ops.log1p(ops.relu(x)), ops.tanh(x))

    x = X.clone().requires_grad_()
    Softened()(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.where(X > 0, 1 / (1 + X), 1 - X.tanh() ** 2))


# -- structures and masks ---------------------------------------------------------------------------------------------------------------


def test_a_list_of_one_output_gives_the_output():
    x = Input((4,))
    assert torch.equal(Model([x], [x * 2])([X]), X * 2) and torch.equal(Model([x], [x * 2])(X), X * 2)


def test_nested_structures_come_out_as_they_were_given():
    a, b = Input((4,), name="a"), Input((4,), name="b")
    model = Model({"a": a, "b": b}, {"x": [a, (b, a + b)], "y": a - b})
    outputs = model({"a": X, "b": X})
    assert torch.equal(outputs["x"][1][1], 2 * X) and isinstance(outputs["x"][1], tuple) and not outputs["y"].any()
    assert model.output_shape == {"x": [(None, 4), ((None, 4), (None, 4))], "y": (None, 4)}


def masked_mean() -> Model:
    x = Input((5, 2))
    return Model(x, L.GlobalAveragePooling1D()(L.Dropout(0.5)(x)))


def test_a_mask_given_to_a_model_reaches_its_layers():
    x = torch.ones(2, 5, 2)
    x[:, 3:] = 100
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    assert masked_mean()(x, mask=mask).unique().tolist() == [1.0]
    chain = Sequential([Input((5, 2)), L.Dropout(0.5), L.GlobalAveragePooling1D()])
    assert chain(x, mask=mask).unique().tolist() == [1.0] and not hasattr(x, "_keras_mask")


def test_a_mask_that_a_layer_made_goes_through_a_model_inside():
    x = Input((5,), dtype="int32")
    inner = Sequential([Input((5, 2)), L.Dropout(0.5), L.GlobalAveragePooling1D()])
    embed = L.Embedding(4, 2, mask_zero=True)
    model = Model(x, inner(embed(x)))
    words = torch.tensor([[1, 2, 0, 0, 0]])
    torch.testing.assert_close(model(words), embed.embeddings[1:3].mean(0, keepdim=True))


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a mask of shape \(2, 4\) does not fit an input of shape \(2, 5, 2\)"):
        masked_mean()(torch.ones(2, 5, 2), mask=torch.ones(2, 4))
    with pytest.raises(ValueError, match="got 2 masks, expected 1"):
        masked_mean()(torch.ones(2, 5, 2), mask=[None, torch.ones(2, 5)])


# -- chains -----------------------------------------------------------------------------------------------------------------------------


def test_a_chain_is_built_when_it_is_complete_if_wished():
    model = Sequential([Input((4,))])
    for _ in range(3):
        model.add(L.Dense(3), rebuild=False)
    assert not model.built
    assert model(X).shape == (3, 3) and model.built
    model.pop()
    assert len(model.layers) == 2 and model.output_shape == (None, 3)


def test_a_chain_may_start_with_a_model_and_hold_modules():
    inner = Sequential([Input((4,)), L.Dense(3)])
    model = Sequential([inner, nn.Tanh(), L.Dense(1)])
    assert model.built and model.output_shape == (None, 1) and len(model.weights) == 4


def test_layers_of_a_model_cannot_be_set():
    model = Sequential([Input((4,)), L.Dense(1)])
    with pytest.raises(AttributeError):
        model.layers = []


# -- subclasses -------------------------------------------------------------------------------------------------------------------------


class Standardized(L.Layer):
    """Subtracts a moving mean, penalizes its scale, and lets `training` through."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight("scale", (input_shape[-1],), "ones", regularizer="l2")
        self.mean = self.add_weight("mean", (input_shape[-1],), "zeros", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            self.add_loss(x.square().mean() * 0.5)
            with torch.no_grad():
                self.mean += 0.1 * (x.mean(0) - self.mean)
        return (x - self.mean) * self.scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class Stack(Model):
    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.blocks = [[Standardized(), L.Dense(4)] for _ in range(depth)]
        self.tail = {"out": nn.Linear(4, 2)}

    def call(self, x: Any, training: bool = False, mask: Any = None) -> Any:
        for norm, dense in self.blocks:
            x = dense(norm(x, training=training))
        return self.tail["out"](x)


def test_a_model_of_layers_of_one_s_own_has_all_their_weights_losses_and_states():
    model = Stack()
    model.build((None, 4))
    assert len(model.weights) == 2 * 4 + 2 and len(model.trainable_weights) == 2 * 3 + 2
    with call_context(CallContext(training=True, key=1)) as context:
        model(X)
    assert len(context.losses) == 2 and len(model.regularization_losses()) == 2
    assert model.blocks[0][0].mean.abs().sum() > 0
    before = model.blocks[0][0].mean.clone()
    model(X)
    assert torch.equal(model.blocks[0][0].mean, before)


def test_a_layer_of_one_s_own_stands_in_a_functional_model_without_being_run():
    x = Input((None, 4))
    layer = Standardized()
    assert Model(x, L.LSTM(2)(layer(x))).output_shape == (None, 2) and layer.built and layer(X).shape == (3, 4)


def test_a_subclass_may_be_functional():
    class Named(Model):
        def __init__(self, units: int) -> None:
            x = Input((4,))
            super().__init__(inputs=x, outputs=L.Dense(units)(x))
            self.units = units

    assert Named(3)(X).shape == (3, 3) and Named(3).output_shape == (None, 3)


def test_a_forgotten_constructor_is_named():
    class Forgetful(Model):
        def __init__(self) -> None:
            self.dense = L.Dense(2)

    with pytest.raises(RuntimeError, match=r"must call super\(\).__init__\(\) before it sets 'dense'"):
        Forgetful()


def test_a_shape_that_cannot_be_inferred_says_so():
    class Broken(L.Layer):
        def call(self, x: Any) -> Any:
            return x @ torch.ones(5, 2)

    with pytest.raises(ValueError, match=r"output shape of Broken 'broken' could not be inferred[\s\S]*compute_output_shape"):
        Broken()(Input((4,)))
    with pytest.raises(ValueError, match=r"output shape of Matmul 'matmul' could not be inferred"):
        Input((4,)) @ torch.ones(5, 2)


def test_misspelt_names_list_what_is_there_nearest_first():
    a, b = Input((4,), name="image"), Input((4,), name="text")
    model = Model([a, b], a + b)
    with pytest.raises(ValueError, match=r"the data has no 'text'[\s\S]*found     \['txt', 'other', 'image'\], nearest first"):
        model({"image": X, "txt": X, "other": X})
    with pytest.raises(ValueError, match="no such layer"):
        model.get_layer("imge")
    with pytest.raises(ValueError, match="no such argument"):
        Model(a, a, nme="m")
