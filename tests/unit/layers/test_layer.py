"""The manners of every layer: names, building, training, weights, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from disttrain import layers as L
from disttrain.identifiers import to_snake_case
from disttrain.layers.context import CallContext, call_context


class Told(L.Layer):
    """Gives back what it was told about training."""

    def call(self, x: Any, training: Any = None) -> Any:
        self.told = training
        return x


class Outer(L.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Told()
        self.batch_norm = nn.BatchNorm1d(2)

    def call(self, x: Any) -> Any:
        self.learned = self.batch_norm.training
        return self.batch_norm(self.inner(x))


class Eager(Told):
    def call(self, x: Any, training: bool = True) -> Any:
        return super().call(x, training)


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Dense", "dense"), ("Conv2DTranspose", "conv2d_transpose"), ("MaxPooling1D", "max_pooling1d"), ("ReLU", "re_lu"), ("LSTM", "lstm")],
)
def test_names_are_snake_case_as_in_keras(name: str, expected: str):
    assert to_snake_case(name) == expected


def test_names_count_per_class_until_the_session_is_cleared():
    assert [L.Dense(1).name, L.Dense(1).name, L.Flatten().name] == ["dense", "dense_1", "flatten"]
    L.clear_session()
    assert L.Dense(1).name == "dense"


def test_training_is_the_argument_then_the_enclosing_call_then_the_default_then_false():
    told, eager = Told(), Eager()
    told(X)
    eager(X)
    assert (told.told, eager.told) == (False, True)
    with call_context(CallContext(training=True)):
        told(X)
        eager(X, training=False)
        assert (told.told, eager.told) == (True, False)
    outer = Outer()
    outer(X, training=True)
    assert outer.inner.told is True and outer.learned
    outer(X)
    assert outer.inner.told is False and not outer.learned


def test_float_arrays_are_cast_and_integers_left_alone():
    told = Told()
    assert told(np.ones((2, 2))).dtype is torch.float32
    assert told(np.ones((2, 2), dtype="int64")).dtype is torch.int64
    assert L.Dense(2, dtype="float64")(X).dtype is torch.float64


def test_positional_flags_are_refused():
    with pytest.raises(ValueError, match="training=True"):
        Told()(X, True)


def test_an_unknown_argument_is_refused_with_the_nearest_names_first():
    with pytest.raises(ValueError, match=r"Dense\(unit_norm=3\): no such argument.\n  expected  one of units"):
        L.Dense(2, unit_norm=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Dense(0), r"Dense\(units=0\): expected an integer, 1 or more"),
        (lambda: L.Dense(2, activation="rleu"), "expected  one of relu"),
        (lambda: L.Dense(2, kernel_initializer="glorot"), "no such initializer"),
        (lambda: L.Conv2D(4, 3, groups=3), "divide the filters"),
        (lambda: L.Conv2D(4, 3, strides=2, dilation_rate=2), "only one of them"),
        (lambda: L.Conv2D(4, 3, padding="causal"), "expected 'valid' or 'same'"),
        (lambda: L.Conv2D(4, 3)(torch.ones(1, 2, 2, 1)), "does not fit"),
        (lambda: L.Conv2D(4, 3)(torch.ones(1, 2, 2)), "expected 4 axes"),
        (lambda: L.Dropout(1.5), "from 0 to 1"),
        (lambda: L.Reshape((-1, -1)), "-1 at most once"),
        (lambda: L.Reshape((5,)).compute_output_shape((None, 4)), "cannot take target_shape"),
        (lambda: L.Dense(2, name="a/b"), "without '/'"),
        (lambda: L.Concatenate()(torch.ones(1, 2)), "list of tensors"),
        (lambda: L.Concatenate()([torch.ones(1, 2, 2), torch.ones(1, 3, 2)]), "requires inputs with matching shapes"),
        (lambda: L.Input((2,), batch_shape=(None, 2)), "both `shape` and `batch_shape`"),
        (lambda: L.as_layer(3), "layer or a torch.nn.Module"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


class Scaled(L.Layer):
    """Weights in the ways that Keras and torch users write them."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.gain = None

    def build(self, input_shape: Any) -> None:
        self.gain = self.add_weight("gain", (self.units,), init="ones", regularizer="l2")
        self.shift = self.add_weight(shape=(self.units,), initializer="zeros", name="offset")
        self.seen = self.add_weight((1,), "zeros", trainable=False)
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        self.add_loss(self.shift.sum())
        return x * self.gain + self.shift


def test_weights_answer_to_their_attributes_and_come_in_keras_order():
    layer = Scaled(2)
    layer(X)
    assert [name for name, _ in layer.named_weights()] == ["gain", "shift", "seen"] == list(layer.state_dict())
    assert [w.requires_grad for w in layer.weights] == [True, True, False]
    assert layer.count_params() == 5


def test_a_built_layer_refuses_more_weights_and_builds_once():
    layer = Scaled(2)
    with pytest.raises(ValueError, match="not built yet"):
        layer.count_params()
    layer.build((None, 2))
    gain = layer.gain
    layer.build((None, 2))
    assert layer.gain is gain
    with pytest.raises(ValueError, match="after building: you cannot add new elements of state"):
        layer.add_weight("late", (1,))


def test_losses_are_those_of_the_last_call_and_the_penalties_of_weights():
    layer = Scaled(2, activity_regularizer="l1")
    for _ in range(2):
        layer(X)
    # added 0; activity 0.01 * 6 over a batch of 3; penalty 0.01 * (1 + 1)
    assert [loss.item() for loss in layer.losses] == pytest.approx([0.0, 0.02, 0.02])
    layer.trainable = False
    assert layer.regularization_losses() == []


def test_losses_of_an_enclosing_pass_go_to_its_context():
    layer = Scaled(2)
    with call_context(CallContext(training=True)) as context:
        layer(X)
    assert len(context.losses) == 1


def test_set_weights_checks_everything_before_it_changes_anything():
    layer = Scaled(2)
    layer(X)
    with pytest.raises(ValueError, match="got 1 arrays, expected 3"):
        layer.set_weights([np.ones(2)])
    with pytest.raises(ValueError, match=r"seen has shape \(1,\), got \(2,\)"):
        layer.set_weights([np.full(2, 9.0), np.ones(2), np.ones(2)])
    assert layer.gain.tolist() == [1.0, 1.0]
    pointer = layer.gain.data_ptr()
    layer.set_weights([np.full(2, 9.0), np.ones(2), np.ones(1)])
    assert layer.gain.tolist() == [9.0, 9.0] and layer.gain.data_ptr() == pointer


def test_children_in_lists_and_dicts_count_wherever_they_are_appended():
    class Stack(L.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.blocks: list[Any] = []
            self.heads = {"a": L.Dense(1), "b": [L.Dense(2)]}
            self.blocks.append(L.Dense(3))
            self.last = L.Dense(4)

        def call(self, x: Any) -> Any:
            x = self.last(self.blocks[0](x))
            return self.heads["a"](x) + self.heads["b"][0](x)

    stack = Stack()
    stack(X)
    kernels = [tuple(w.shape) for name, w in stack.named_weights() if name.endswith("kernel")]
    assert kernels == [(4, 1), (4, 2), (2, 3), (3, 4)]  # in the order in which Keras meets them


def test_freezing_a_layer_freezes_what_is_inside():
    outer = Outer()
    outer.trainable = False
    assert not outer.inner.trainable and not any(p.requires_grad for p in outer.parameters())


def test_plain_arguments_of_a_constructor_are_in_the_config_by_themselves():
    layer = Scaled(2, name="twice")
    assert layer.get_config() == {"name": "twice", "trainable": True, "dtype": "float32", "units": 2}
    assert Scaled.from_config(layer.get_config()).units == 2


def test_a_config_that_would_lose_an_argument_is_refused():
    with pytest.raises(NotImplementedError, match="takes units, which get_config"):
        Scaled(object()).get_config()


def test_forgetting_super_init_says_so():
    class Hasty(L.Layer):
        def __init__(self) -> None:
            self.inner = L.Dense(1)

    with pytest.raises(RuntimeError, match=r"must call super\(\).__init__\(\)"):
        Hasty()


def test_keys_of_keras_for_unused_abilities_are_dropped_and_used_ones_refused():
    config = {**L.Dense(2).get_config(), "lora_rank": None, "quantization_config": None}
    assert L.Dense.from_config(config).units == 2
    with pytest.raises(ValueError, match="lora_rank"):
        L.Dense.from_config({**config, "lora_rank": 4})


def test_a_seeded_initializer_instance_repeats_and_a_name_does_not():
    one, two = L.Dense(2), L.Dense(2)
    assert not torch.equal(one(X), two(X))
    from disttrain.initializers import GlorotUniform

    shared = GlorotUniform()
    assert torch.equal(L.Dense(2, kernel_initializer=shared)(X), L.Dense(2, kernel_initializer=shared)(X))


def test_layer_ids_are_places_among_the_modules():
    outer = Outer()
    L.assign_layer_ids(outer)
    assert (outer._layer_id, outer.inner._layer_id) == (0, 1)


# -- symbolic tensors -------------------------------------------------------------------------------------------------------------------


def test_shapes_of_code_are_inferred_with_unknown_sizes_kept():
    x = L.Input((None, 4))
    assert L.Lambda(lambda t: t.sum(-1))(x).shape == (None, None)
    assert L.Lambda(lambda t: t.flatten(1), output_shape=(None,))(x).shape == (None, None)
    assert L.TorchModule(nn.Linear(4, 3))(x).shape == (None, None, 3)
    halved = L.Lambda(lambda t: {"a": t, "b": t[:, :, :2].long()})(x)
    assert halved["b"].shape == (None, None, 2) and halved["b"].dtype == "int64"


def test_a_function_that_cannot_take_the_shape_says_what_to_do():
    with pytest.raises(ValueError, match="compute_output_shape"):
        L.Lambda(lambda t: t @ torch.ones(3, 3))(L.Input((4,)))


def test_symbolic_tensors_refuse_to_be_values():
    x = L.Input((4,))
    with pytest.raises(TypeError, match="has no value"):
        bool(x)
    with pytest.raises(TypeError, match="TorchModule"):
        torch.relu(x)
    with pytest.raises(TypeError, match="TorchModule"):
        nn.Linear(4, 2)(x)


def test_lists_of_numbers_are_data():
    assert torch.equal(L.Dense(2, kernel_initializer="ones")([[1.0, 2.0]]), torch.full((1, 2), 3.0))
    assert L.CategoryEncoding(3, output_mode="multi_hot")([[0, 1], [2, 2]]).tolist() == [[1, 1, 0], [0, 0, 1]]


def test_the_shape_of_a_layer_that_insists_on_a_mask_is_inferred():
    class Strict(L.Layer):
        def call(self, inputs, mask=None):
            assert mask is not None
            return inputs * mask[..., None]

    x = L.Input((None,), dtype="int32")
    assert Strict()(L.Embedding(4, 2, mask_zero=True)(x)).shape == (None, None, 2)
