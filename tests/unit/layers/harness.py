"""What every layer must do, whatever it computes."""

from __future__ import annotations

import copy
import json
from typing import Any

import cloudpickle
import torch
from torch import Tensor

from disttrain.layers import Layer
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.structure import flatten, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.saving import deserialize_object, serialize_object


def shapes_of(value: Any) -> Any:
    return map_structure(lambda tensor: tuple(tensor.shape), value)


def run(layer: Layer, inputs: Any, training: bool, key: int = 5) -> list[Tensor]:
    with call_context(CallContext(training=training, key=key)):
        return flatten(layer(inputs))


def check_layer(make: Any, inputs: Any, *, savable: bool = True) -> None:
    """Shapes, config, state, pickling, dtype, gradients and determinism of `make()` on `inputs`."""
    layer = make()
    run(layer, inputs, training=True)
    check_shapes(layer, inputs)
    check_names(layer)
    check_gradients(layer, inputs)
    check_determinism(layer, inputs)
    check_copies(layer, inputs)
    if savable:
        check_config(layer, inputs)
        check_dtype(make, inputs)


def check_shapes(layer: Layer, inputs: Any) -> None:
    """The symbolic shape is that of the result, with None for the batch."""
    symbolic = map_structure(lambda x: SymbolicTensor((None, *x.shape[1:]), str(x.dtype).removeprefix("torch.")), inputs)
    spec = flatten(layer.compute_output_spec(symbolic))
    results = run(layer, inputs, training=False)
    assert [(None, *result.shape[1:]) for result in results] == [tensor.shape for tensor in spec]
    assert [str(result.dtype).removeprefix("torch.") for result in results] == [tensor.dtype for tensor in spec]


def check_names(layer: Layer) -> None:
    """Canonical names are the keys of state_dict, and weights come in their order."""
    assert sorted(name for name, _ in layer.named_weights()) == sorted(layer.state_dict())
    assert [id(tensor) for _, tensor in layer.named_weights()] == [id(tensor) for tensor in layer.weights]
    assert len(layer.trainable_weights) + len(layer.non_trainable_weights) == len(layer.weights)


def check_gradients(layer: Layer, inputs: Any) -> None:
    """Every trainable weight and every float input gets a gradient of its own shape."""
    leaves = map_structure(lambda x: x.clone().requires_grad_(x.is_floating_point()), inputs)
    outputs = run(layer, leaves, training=True)
    torch.stack([torch.sin(output).sum() for output in outputs]).sum().backward()  # sin: a plain sum over a softmax is constant
    for tensor in (*layer.trainable_weights, *(leaf for leaf in flatten(leaves) if leaf.requires_grad)):
        assert tensor.grad is not None and tensor.grad.shape == tensor.shape and torch.isfinite(tensor.grad).all()
    for weight in layer.trainable_weights:
        assert weight.is_contiguous() and weight.grad is not None and weight.grad.is_contiguous()


def check_determinism(layer: Layer, inputs: Any) -> None:
    """The same key gives the same bits, whatever torch's own generator has done meanwhile."""
    before = run(layer, inputs, training=True)
    torch.rand(3)
    for one, two in zip(before, run(layer, inputs, training=True), strict=True):
        assert torch.equal(one, two)


def check_copies(layer: Layer, inputs: Any) -> None:
    """deepcopy, cloudpickle, state_dict and get_weights carry the whole state."""
    expected = run(layer, inputs, training=False)
    other = copy.deepcopy(layer)
    other.set_weights([0 * weight for weight in layer.get_weights()])
    other.set_weights(layer.get_weights())
    third = copy.deepcopy(other)
    third.load_state_dict(layer.state_dict())
    for twin in (other, third, cloudpickle.loads(cloudpickle.dumps(layer))):
        for one, two in zip(expected, run(twin, inputs, training=False), strict=True):
            assert torch.equal(one, two)


def check_config(layer: Layer, inputs: Any) -> None:
    """from_config(get_config()) has an equal config; through JSON, with the weights put back, it computes the same."""
    again = type(layer).from_config(layer.get_config())
    assert serialize_object(again.get_config()) == serialize_object(layer.get_config())
    twin = deserialize_object(json.loads(json.dumps(serialize_object(layer))))
    assert twin.built == layer.built and [w.shape for w in twin.weights] == [w.shape for w in layer.weights]
    twin.set_weights(layer.get_weights())
    for one, two in zip(run(layer, inputs, training=False), run(twin, inputs, training=False), strict=True):
        assert torch.equal(one, two)


def check_dtype(make: Any, inputs: Any) -> None:
    """With dtype float64 the weights and the results are float64, though the inputs are not."""
    config = {**make().get_config(), "dtype": "float64"}
    layer = type(make()).from_config(config)
    outputs = run(layer, inputs, training=False)
    assert all(output.dtype is torch.float64 for output in outputs if output.is_floating_point())
    assert all(weight.dtype is torch.float64 for weight in layer.weights)
