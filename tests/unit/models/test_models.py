"""Functional, sequential and subclassed models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.models import Input, Model, Sequential
from disttrain.models.digest import weights_digest

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def two_in_two_out() -> Model:
    a, b = Input((4,), name="a"), Input((2,), name="b")
    shared = L.Dense(2, name="shared")
    left = shared(a)
    right = L.Dense(4, name="up")(b)
    return Model({"a": a, "b": b}, {"sum": L.Add(name="sum")([left, shared(right)]), "left": left})


# -- functional -------------------------------------------------------------------------------------------------------------------------


def test_a_functional_model_computes_what_its_layers_compute():
    model = two_in_two_out()
    shared, up = model.get_layer("shared"), model.get_layer("up")
    b = X[:, :2]
    out = model({"a": X, "b": b})
    assert torch.equal(out["left"], shared(X)) and torch.equal(out["sum"], shared(X) + shared(up(b)))
    assert model.output_names == ["shared", "sum"]  # dicts go by sorted key
    assert [layer.name for layer in model.layers] == ["b", "a", "up", "shared", "sum"]  # as in Keras: farthest from the outputs first


def test_inputs_may_come_as_the_structure_a_flat_list_or_a_dict_with_more_in_it():
    model, b = two_in_two_out(), X[:, :2]
    expected = model({"a": X, "b": b})["sum"]
    with pytest.warns(UserWarning, match="The structure of `inputs` doesn't match the expected structure"):
        assert torch.equal(model([X, b])["sum"], expected)
    assert torch.equal(model({"a": X, "b": b, "more": b})["sum"], expected)
    with pytest.raises(ValueError, match="no 'b'"):
        model({"a": X})
    with pytest.raises(ValueError, match="got 1 tensors, expected 2"):
        model([X])


def test_data_take_the_dtype_and_rank_that_an_input_declares():
    x = Input((1,))
    model = Model(x, L.Rescaling(2.0)(x))
    assert model(np.array([1, 2], dtype="uint8")).tolist() == [[2.0], [4.0]]
    with pytest.raises(ValueError, match=r"has shape \(3, 4\), expected \(None, 1\)"):
        model(X)


def test_arithmetic_on_symbolic_tensors_makes_layers():
    x = Input((4,))
    model = Model(x, -((x + 1) * 2 - x / 4))
    assert torch.allclose(model(X), -((X + 1) * 2 - X / 4))
    assert [layer.name for layer in model.operations[1:]] == ["add", "multiply", "true_divide", "subtract", "negative"]
    assert [layer.name for layer in model.layers] == ["input_layer"]  # as in Keras: operations are no layers


def test_a_model_from_the_middle_of_another_shares_its_layers():
    x = Input((4,))
    middle = L.Dense(3)(x)
    whole = Model(x, L.Dense(2)(middle))
    head, tail = Model(x, middle), Model(middle, whole.outputs[0])
    assert torch.equal(tail(head(X)), whole(X))
    assert head.layers[1] is whole.layers[1]


def test_a_nested_model_is_a_layer():
    inner = Sequential([Input((4,)), L.Dense(3)])
    x = Input((4,))
    model = Model(x, L.Dropout(0.5)(inner(x)))
    assert model.output_shape == (None, 3) and [name for name, _ in model.named_weights()] == [
        "sequential.dense.kernel",
        "sequential.dense.bias",
    ]
    inner.trainable = False
    assert model.trainable_weights == []


def test_what_the_model_is_told_about_training_wins_over_the_graph():
    x = Input((64,))
    model = Model(x, L.Dropout(0.5)(x, training=True))
    ones = torch.ones(1, 64)
    assert (model(ones) == 0).any()
    assert not (model(ones, training=False) == 0).any()


def test_mistakes_in_a_graph_are_named():
    a, b = Input((4,), name="a"), Input((4,), name="b")
    with pytest.raises(ValueError, match="input 'b', which is not among"):
        Model(a, L.Add()([a, b]))
    with pytest.raises(ValueError, match="two layers are called 'twin'"):
        Model(a, L.Dense(2, name="twin")(L.Dense(2, name="twin")(a)))
    with pytest.raises(ValueError, match="both or neither"):
        Model(inputs=a)
    with pytest.raises(ValueError, match=r"a subclass with call"):
        Model()


def test_a_deep_graph_needs_no_deep_stack():
    x = tensor = Input((1,))
    for _ in range(1500):
        tensor = L.Activation("linear")(tensor)
    model = Model(x, tensor)
    assert cloudpickle.loads(cloudpickle.dumps(model))(torch.ones(1, 1)).tolist() == [[1.0]]
    assert copy.deepcopy(model)(torch.ones(1, 1)).tolist() == [[1.0]]


def test_a_copy_knows_its_symbolic_inputs_again():
    model = cloudpickle.loads(cloudpickle.dumps(two_in_two_out()))
    assert [tensor.shape for tensor in model.inputs] == [(None, 4), (None, 2)]
    part = Model(model.input, model.get_layer("sum").output)
    data = {"a": X, "b": X[:, :2]}
    assert torch.equal(part(data), model(data)["sum"])


# -- sequential -------------------------------------------------------------------------------------------------------------------------


def test_a_sequential_with_an_input_is_built_at_once():
    model = Sequential([Input((4,)), L.Dense(3, "relu"), nn.Linear(3, 2), L.Dense(1)])
    assert model.built and model.output_shape == (None, 1) and model.count_params() == 15 + 8 + 3
    assert [layer.name for layer in model.layers] == ["dense", "linear", "dense_1"]
    assert list(model.state_dict())[:3] == ["dense.kernel", "dense.bias", "linear.module.weight"]


def test_a_sequential_without_one_is_built_by_its_first_call():
    model = Sequential([L.Dense(3), L.Dense(1)])
    assert not model.built and model.weights == []
    with pytest.raises(ValueError, match="before its input shape is known"):
        _ = model.inputs
    assert model(X).shape == (3, 1) and model.inputs[0].shape == (None, 4)
    with pytest.raises(ValueError, match="expected"):
        model(torch.ones(3, 5))


def test_layers_can_be_added_and_taken_off():
    model = Sequential([Input((4,))])
    model.add(L.Dense(3))
    model.add(L.Dense(1))
    assert model.output_shape == (None, 1)
    model.pop()
    assert model.output_shape == (None, 3) and list(model.state_dict()) == ["dense.kernel", "dense.bias"]


def test_a_chain_with_an_input_takes_one_tensor():
    model = Sequential([Input((4,)), L.Dense(2)])
    assert torch.equal(model([X]), model(X))
    with pytest.raises(ValueError, match=r"got 2 tensors, expected one of shape \(None, 4\)"):
        model([X, X])


def test_each_layer_of_a_chain_that_grew_knows_its_output():
    model = Sequential()
    for layer in (Input((8, 8, 1)), L.Conv2D(2, 3, name="first"), L.Conv2D(3, 3), L.Flatten()):
        model.add(layer)
    features = Model(model.inputs, model.get_layer("first").output)
    x = torch.ones(1, 8, 8, 1)
    assert torch.equal(features(x), model.layers[0](x))


def test_a_config_may_name_classes_that_are_handed_over():
    class Doubled(L.Layer):
        def call(self, inputs):
            return 2 * inputs

    x = Input((4,))
    for model in (Model(x, Doubled()(x)), Sequential([x, Doubled()])):
        twin = type(model).from_config(model.get_config(), custom_objects={"Doubled": Doubled})
        assert torch.equal(twin(X), 2 * X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential([L.Dense(1, name="d"), L.Dense(1, name="d")]), "two layers are called 'd'"),
        (lambda: Sequential([L.Dense(1), Input((2,))]), "Input must come first"),
        (lambda: Sequential([lambda x: x]), "layers.Lambda"),
        (lambda: Sequential([L.LSTMCell(3)]), "takes inputs, states"),
        (lambda: Sequential([Input((2,)), L.Dense(1)]).build((None, 3)), r"its Input has shape \(None, 2\)"),
        (lambda: Sequential().build((None, 3)), "has no layers"),
    ],
)
def test_mistakes_in_a_chain_are_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_old_style_first_layer_brings_the_shape():
    assert Sequential([L.Dense(2, input_shape=(4,))]).built and Sequential([L.Dense(2, input_dim=4)]).built


def test_integers_become_floats_but_not_on_the_way_into_an_embedding():
    assert Sequential([L.Dense(2)])(np.ones((3, 4), "uint8")).dtype is torch.float32
    big = 16_777_217  # not a float32
    model = Sequential([L.Lambda(lambda x: x)])
    model.layers[0]._autocast = False
    assert model(torch.tensor([[big]])).item() == big


# -- subclasses -------------------------------------------------------------------------------------------------------------------------


class Custom(Model):
    def __init__(self) -> None:
        super().__init__()
        self.first = L.Dense(3, activity_regularizer="l2")
        self.drop = L.Dropout(0.5)
        self.bodies = [nn.Linear(3, 3) for _ in range(2)]

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.drop(self.first(x))
        for body in self.bodies:
            x = body(x)
        return x


def test_a_subclass_builds_by_its_first_call_or_by_shape():
    called, built = Custom(), Custom()
    called(X)
    built.build((None, 4))
    assert [name for name, _ in called.named_weights()] == [name for name, _ in built.named_weights()]
    assert [name for name, _ in built.named_weights()][::2] == ["first.kernel", "bodies_0.weight", "bodies_1.weight"]
    assert built.layers == [built.first, built.drop]


def test_training_reaches_the_layers_and_the_torch_modules_of_a_subclass():
    model, learned = Custom(), []
    model(X)
    model.bodies[0].register_forward_pre_hook(lambda body, given: learned.append(body.training))
    with call_context(CallContext(training=True, key=1)) as context:
        one, two = model(X), model(X)
    assert not torch.equal(one, two) and learned == [True, True] and len(context.losses) == 2
    assert torch.equal(model(X), model(X)) and learned[2:] == [False, False]


def test_random_layers_of_a_model_have_streams_of_their_own():
    x = torch.ones(1, 50)
    model = Sequential([Input((50,)), L.Dropout(0.5), L.Dropout(0.5)])
    with call_context(CallContext(training=True, key=1)):
        kept = model(x)
    assert set(kept.unique().tolist()) == {0.0, 2.0, 4.0} - ({2.0} if 2.0 not in kept else set())
    assert 4.0 in kept and 0.1 < (kept == 4.0).float().mean() < 0.45  # a quarter, and not the half of one mask twice


# -- what every model has ---------------------------------------------------------------------------------------------------------------


def test_digests_tell_models_apart_by_one_bit_and_by_names():
    model = two_in_two_out()
    twin = copy.deepcopy(model)
    assert twin.digest() == model.digest() == weights_digest((n, w.detach().numpy()) for n, w in model.named_weights())
    with torch.no_grad():
        twin.weights[0].view(torch.int32).view(-1)[0] ^= 1
    assert twin.digest() != model.digest()
    assert weights_digest([("a", torch.zeros(2, dtype=torch.bfloat16))]) != weights_digest([("a", torch.zeros(2))])


def test_a_layer_may_be_called_like_an_attribute_of_the_model():
    model = Sequential([Input((4,)), L.Dense(1, name="history"), L.Dense(1, name="loss.x")])
    model.history = "of fit"
    assert model.history == "of fit" and list(model.state_dict())[::2] == ["history.kernel", "loss_x.kernel"]


def test_layers_are_found_by_name_and_place():
    model = two_in_two_out()
    assert model.get_layer(index=2) is model.get_layer("up")
    with pytest.raises(ValueError, match="expected  one of shared, a, sum, up, b, nearest first"):
        model.get_layer("shard")


def test_a_model_exports_to_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # which torch sets on the way
    model = Sequential([Input((4,)), L.Dense(3, "relu"), L.Dense(1)])
    exported = torch.export.export(model, (X,))
    assert torch.equal(exported.module()(X), model(X))
