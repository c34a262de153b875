"""What Keras's layers are asked beside their call: built or not, masks, input specs, metrics, calls with other weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers
from disttrain.training.local import runner

BUILT = {
    **dict.fromkeys(("Activation",), ("relu",)),
    **dict.fromkeys(("ActivityRegularization", "ELU", "Identity", "LeakyReLU", "Masking", "ReLU", "Softmax", "UnitNormalization"), ()),
    **dict.fromkeys(("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"), (0.5,)),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), (0.5,)),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"), (2,)),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"), ()),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"), ()),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"), ()),
    "Reshape": ((2,),),
}


@pytest.mark.parametrize("name", BUILT)
def test_a_layer_without_weights_is_built_from_the_start(name):
    cls = getattr(layers, name)
    assert cls(*BUILT[name]).built and cls(*BUILT[name]).count_params() == 0

    class WithBuild(cls):
        def build(self, input_shape):
            self.scale = self.add_weight("scale", (1,))

    assert not WithBuild(*BUILT[name]).built  # what a subclass makes is made by its first call


def test_layers_with_weights_are_built_by_their_first_call():
    for layer in (layers.Dense(2), layers.PReLU(), layers.BatchNormalization(), layers.Add(), layers.Dot(1)):
        assert not layer.built


def test_dot_and_global_average_pooling_take_masks_and_give_none():
    dot = layers.Dot(1)
    assert dot.supports_masking and dot.compute_mask([torch.ones(2, 3), torch.ones(2, 3)]) is None
    pooling = layers.GlobalAveragePooling1D()
    masked = layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    assert pooling.supports_masking and getattr(pooling(masked), "_keras_mask", None) is None
    assert pooling(masked).tolist() == [[1.0]]


# -- input specs ------------------------------------------------------------------------------------------------------------------------


class Specific(layers.Layer):
    def __init__(self, spec):
        super().__init__(name="specific")
        self.input_spec = spec

    def call(self, inputs):
        return inputs if isinstance(inputs, torch.Tensor) else inputs[0]


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        ({"ndim": 3}, (2, 3), r"expected ndim=3, found ndim=2. Full shape received: \(2, 3\)"),
        ({"min_ndim": 3}, (2, 3), "expected min_ndim=3, found ndim=2"),
        ({"max_ndim": 1}, (2, 3), "expected max_ndim=1, found ndim=2"),
        ({"axes": {-1: 4}}, (2, 3), r"expected axis -1 of input shape to have value 4, but received input with shape \(2, 3\)"),
        ({"shape": (None, 4)}, (2, 3), r"expected shape=\(None, 4\), found shape=\(2, 3\)"),
        ({"dtype": "int32"}, (2, 3), "expected dtype=int32, found dtype=float32"),
    ],
)
def test_an_input_that_is_not_as_specified_is_refused_at_every_call(spec, shape, words):
    layer = Specific(layers.InputSpec(**spec))
    for _ in range(2):
        with pytest.raises(ValueError, match=f'Input 0 of layer "specific" is incompatible with the layer: {words}'):
            layer(torch.ones(shape))
    with pytest.raises(ValueError, match='Input 0 of layer "specific"'):
        layer(dt.Input(shape[1:]))


def test_a_spec_that_is_set_after_a_call_holds_from_then_on():
    layer = Specific(None)
    layer(torch.ones(2, 3))
    layer(torch.ones(2, 3))
    layer.input_spec = layers.InputSpec(ndim=3)
    with pytest.raises(ValueError, match="expected ndim=3"):
        layer(torch.ones(2, 3))


def test_inputs_that_fit_pass_and_several_are_counted():
    layer = Specific([layers.InputSpec(shape=(None, 3)), layers.InputSpec(ndim=1, optional=True)])
    assert layer([torch.ones(2, 3), None]).shape == (2, 3)
    with pytest.raises(ValueError, match=r'Layer "specific" expects 2 input\(s\), but it received 1 input tensors'):
        layer([torch.ones(2, 3)])
    assert layers.InputSpec.from_config(layers.InputSpec(shape=(None, 3), dtype="int32").get_config()).shape == (None, 3)


def test_a_spec_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="Axis 2 is greater than the maximum allowed value: 1"):
        layers.InputSpec(ndim=2, axes={2: 3})
    with pytest.raises(TypeError, match="integer keys"):
        layers.InputSpec(axes={"last": 3})


# -- metrics, and calls with other weights ----------------------------------------------------------------------------------------------


def test_a_layer_lists_the_metrics_that_it_and_its_layers_hold():
    class Inner(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seen = dt.metrics.Sum()

    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner, self.rates = Inner(), [dt.metrics.Mean()]

    layer = Outer()
    assert layer.metrics == [layer.rates[0], layer.inner.seen] and len(layer.metrics_variables) == 3


def test_a_stateless_call_leaves_the_layer_alone_and_its_gradients_reach_the_values_given():
    layer = layers.BatchNormalization()
    layer.build((None, 2))
    given = [torch.tensor([2.0, 2.0], requires_grad=True), torch.zeros(2)]
    x = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    outputs, after, losses = layer.stateless_call(given, layer.non_trainable_variables, x, training=True, return_losses=True)
    assert outputs.detach().round().tolist() == [[-2.0, -2.0], [2.0, 2.0]] and losses == []
    assert after[0].tolist() == pytest.approx([0.01, 0.02]) and layer.moving_mean.tolist() == [0.0, 0.0]
    assert layer.gamma.tolist() == [1.0, 1.0]
    outputs[1].sum().backward()
    assert given[0].grad is not None and layer.gamma.grad is None
    with pytest.raises(ValueError, match="Received list with length 1, but expected 2 variables"):
        layer.stateless_call(given[:1], layer.non_trainable_variables, x)
    with pytest.raises(ValueError, match="Dense must be built"):
        layers.Dense(1).stateless_call([], [], x)


def test_a_metric_is_updated_and_asked_without_a_state():
    metric = dt.metrics.Mean()
    metric.update_state([10.0])
    sums = metric.stateless_update_state(metric.stateless_reset_state(), [1.0, 3.0])
    assert float(metric.stateless_result(sums)) == 2.0 and float(metric.result()) == 10.0
    with pytest.raises(ValueError, match="Received list with length 1, but expected 2 variables"):
        metric.stateless_result(sums[:1])


def test_a_state_tree_holds_all_values_and_gives_them_back():
    model = dt.Sequential([dt.Input((3,)), layers.Dense(2, name="d"), layers.BatchNormalization(name="b")])
    model.compile("adam", "mse", metrics=["mae"])
    data = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    model.fit(*data, verbose=0)
    tree = model.get_state_tree("numpy_array")
    assert set(tree["trainable_variables"]) == {"d", "b"} and set(tree["non_trainable_variables"]["b"]) == {
        "moving_mean",
        "moving_variance",
    }
    assert int(tree["optimizer_variables"]["adam"]["iteration"]) == 1 and "loss" in tree["metrics_variables"]
    before = model.digest()
    model.fit(*data, verbose=0)
    assert model.digest() != before
    model.set_state_tree(tree)
    assert model.digest() == before and model.optimizer.iterations == 1
    with pytest.raises(ValueError, match="has no trainable_variables 'd/kernle'"):
        model.set_state_tree({"trainable_variables": {"d": {"kernle": np.zeros((3, 2))}}})
    with pytest.raises(ValueError, match="Invalid `value_format`"):
        model.get_state_tree("lists")


# -- masks ------------------------------------------------------------------------------------------------------------------------------


def test_a_mask_that_is_given_by_name_goes_on_to_the_output():
    class Passes(layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            return x * 1.0

    mask = torch.tensor([True, False])
    assert Passes()(torch.ones(2, 3), mask=mask)._keras_mask is mask
    recurrent = layers.SimpleRNN(2, return_sequences=True)
    steps = torch.tensor([[True, False, True]])
    assert recurrent(torch.ones(1, 3, 2), mask=steps)._keras_mask is steps


def test_merging_layers_take_arrays_as_masks():
    x, some, none = np.ones((1, 2, 4)), np.array([[True, False]]), np.array([[False, False]])
    assert layers.Add().compute_mask([x, x], [some, none]).tolist() == [[True, False]]
    assert layers.Concatenate(axis=1).compute_mask([x, x], [some, None]).tolist() == [[True, False, True, True]]


# -- training ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_a_model_with_a_fixed_batch_size_trains_in_batches_of_it(virtual_workers):
    inputs = dt.Input((2,), batch_size=4)
    data = np.ones((8, 2), "float32")
    for model in (dt.Model(inputs, layers.Dense(1)(inputs)), dt.Sequential([layers.Input((2,), batch_size=4), layers.Dense(1)])):
        model.compile("sgd", "mse")
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
            assert len(model.fit(data, data[:, :1], batch_size=4, verbose=0).history["loss"]) == 1
            assert model.predict(data, batch_size=4, verbose=0).shape == (8, 1)


def test_an_optimizer_applies_gradients_that_are_arrays():
    weight = dt.Variable([1.0, 2.0])
    dt.optimizers.SGD(0.5).apply([np.array([1.0, 2.0], "float32")], [weight])
    assert weight.numpy().tolist() == [0.5, 1.0]


def test_add_variable_is_add_weight():
    layer = layers.Layer()
    assert layer.add_variable((2,), "ones", name="a").numpy().tolist() == [1.0, 1.0] and layer.weights[0].name == "a"
