"""What every layer must do, whatever it computes."""

from __future__ import annotations

import copy
import json
from typing import Any

import cloudpickle
import torch
from layer_case import Case
from torch import Tensor, nn

from disttrain import layers as L
from disttrain import mixed_precision
from disttrain.layers import Layer
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.structure import flatten, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.saving import deserialize_object, serialize_object


def run(layer: Layer, arguments: Any, training: bool, key: int = 5) -> list[Tensor]:
    args, kwargs = arguments
    with call_context(CallContext(training=training, key=key)):
        return [leaf for leaf in flatten(layer(*args, **kwargs)) if leaf is not None]


def arguments_of(case: Case) -> tuple[list[Any], dict[str, Any]]:
    """(positional, by name) as tensors."""
    inputs = map_structure(torch.as_tensor, case.inputs)
    call = {name: map_structure(_as_tensor, value) for name, value in (case.call or {}).items()}
    return (list(inputs) if case.spread else [inputs]), call


def _as_tensor(value: Any) -> Any:
    return torch.as_tensor(value) if hasattr(value, "dtype") else value


def check_layer(case: Case, *, savable: bool = True) -> None:
    """Shapes, config, state, pickling, dtype, gradients, determinism and one training step."""
    arguments = arguments_of(case)
    layer = case.make(L)
    run(layer, arguments, training=True)
    check_shapes(layer, arguments)
    check_names(layer)
    check_gradients(layer, arguments, case)
    check_determinism(layer, arguments)
    check_copies(layer, arguments)
    check_a_training_step(layer, arguments)
    if savable:
        check_config(layer, arguments)
        check_dtypes(case, arguments)


def check_shapes(layer: Layer, arguments: Any) -> None:
    """The symbolic shape is that of the result, with None for the batch."""

    def symbolic(value: Any) -> Any:
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        return SymbolicTensor((None, *value.shape[1:]), dtype) if isinstance(value, Tensor) and value.ndim else value

    args, kwargs = map_structure(symbolic, arguments[0]), map_structure(symbolic, arguments[1])
    spec = flatten(layer.compute_output_spec(*args, **kwargs))
    results = run(layer, arguments, training=False)
    assert [(None, *result.shape[1:]) for result in results] == [(None, *tensor.shape[1:]) for tensor in spec]
    assert [str(result.dtype).removeprefix("torch.") for result in results] == [tensor.dtype for tensor in spec]


def check_names(layer: Layer) -> None:
    """Canonical names are the keys of state_dict, and weights come in their order."""
    assert sorted(name for name, _ in layer.named_weights()) == sorted(layer.state_dict())
    assert [id(tensor) for _, tensor in layer.named_weights()] == [id(tensor) for tensor in layer.weights]
    assert len(layer.trainable_weights) + len(layer.non_trainable_weights) == len(layer.weights)


def check_gradients(layer: Layer, arguments: Any, case: Case) -> None:
    """Every trainable weight and every float input gets a finite gradient of its own shape, contiguous for a weight."""
    args = map_structure(lambda x: x.clone().requires_grad_(x.is_floating_point()), arguments[0])
    outputs = [output for output in run(layer, (args, arguments[1]), training=True) if output.is_floating_point()]
    wanted = list(layer.trainable_weights)
    if case.differentiable:
        wanted += [leaf for leaf in flatten(args) if leaf.requires_grad]
    if not wanted:
        return
    torch.stack([torch.sin(output).sum() for output in outputs]).sum().backward()  # sin: a plain sum over a softmax is constant
    for tensor in wanted:
        assert tensor.grad is not None and tensor.grad.shape == tensor.shape and torch.isfinite(tensor.grad).all()
    for weight in layer.trainable_weights:
        assert weight.is_contiguous() and weight.grad is not None and weight.grad.is_contiguous()
        weight.grad = None


def check_determinism(layer: Layer, arguments: Any) -> None:
    """From the same state, the same key gives the same bits, whatever torch's own generator has done meanwhile."""
    twin = copy.deepcopy(layer)
    before = run(layer, arguments, training=True)
    torch.rand(3)
    for one, two in zip(before, run(twin, arguments, training=True), strict=True):
        assert torch.equal(one, two)


def check_copies(layer: Layer, arguments: Any) -> None:
    """deepcopy, cloudpickle, state_dict and get_weights carry the whole state."""
    other = copy.deepcopy(layer)
    other.set_weights([0 * weight for weight in layer.get_weights()])
    other.set_weights(layer.get_weights())
    third = copy.deepcopy(other)
    third.load_state_dict(layer.state_dict())
    fourth = cloudpickle.loads(cloudpickle.dumps(layer))
    expected = run(layer, arguments, training=False)
    for twin in (other, third, fourth):
        for one, two in zip(expected, run(twin, arguments, training=False), strict=True):
            assert torch.equal(one, two)


def check_a_training_step(layer: Layer, arguments: Any) -> None:
    """A step down the gradient changes each trainable weight that has one, and a frozen layer has no weights to change."""
    twin = copy.deepcopy(layer)
    outputs = [output for output in run(twin, arguments, training=True) if output.is_floating_point()]
    if not twin.trainable_weights:
        return
    before = [weight.detach().clone() for weight in twin.trainable_weights]
    optimizer = torch.optim.SGD(twin.trainable_weights, lr=0.5)
    torch.stack([torch.sin(output + 0.3).sum() for output in outputs]).sum().backward()
    moving = [weight.grad is not None and bool(weight.grad.any()) for weight in twin.trainable_weights]
    optimizer.step()
    changed = [not torch.equal(one, two) for one, two in zip(before, twin.trainable_weights, strict=True)]
    assert changed == moving and any(moving)
    twin.trainable = False
    assert twin.trainable_weights == [] and len(twin.non_trainable_weights) == len(twin.weights)


def check_config(layer: Layer, arguments: Any) -> None:
    """from_config(get_config()) has an equal config; through JSON, with the weights put back, it computes the same."""
    again = type(layer).from_config(layer.get_config())
    assert serialize_object(again.get_config()) == serialize_object(layer.get_config())
    twin = deserialize_object(json.loads(json.dumps(serialize_object(layer))))
    assert twin.built == layer.built and [w.shape for w in twin.weights] == [w.shape for w in layer.weights]
    twin.set_weights(layer.get_weights())
    for one, two in zip(run(copy.deepcopy(layer), arguments, training=False), run(twin, arguments, training=False), strict=True):
        assert torch.equal(one, two)


def check_dtypes(case: Case, arguments: Any) -> None:
    """Made under float64, weights and results are float64 though the inputs are not; under a mixed policy weights stay float32."""
    layer = _made_under("float64", case)
    outputs = run(layer, arguments, training=False)
    if not layer._output_keeps_dtype:
        assert all(output.dtype is torch.float64 for output in outputs if output.is_floating_point())
    assert all(weight.dtype is torch.float64 for weight in layer.weights if weight.is_floating_point())
    mixed = _made_under("mixed_bfloat16", case)
    results = run(mixed, arguments, training=True)
    if not mixed._output_keeps_dtype:
        assert all(output.dtype is torch.bfloat16 for output in results if output.is_floating_point())
    assert all(weight.dtype is torch.float32 for weight in mixed.weights if weight.is_floating_point())


def _made_under(policy: str, case: Case) -> Layer:
    before = mixed_precision.dtype_policy()
    mixed_precision.set_dtype_policy(policy)
    try:
        return case.make(L)
    finally:
        mixed_precision.set_dtype_policy(before)


def check_traces(case: Case) -> None:
    """torch.compile without a break in the graph, and torch.export, compute the same as the layer."""
    args, kwargs = arguments_of(case)
    layer = case.make(L)
    expected = [leaf for leaf in flatten(layer(*args, **kwargs)) if leaf is not None]
    exported = torch.export.export(_Called(layer, kwargs), tuple(args), strict=False).module()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    try:
        for results in (flatten(exported(*args)), flatten(compiled(*args, **kwargs))):
            for one, two in zip(expected, [leaf for leaf in results if leaf is not None], strict=True):
                torch.testing.assert_close(one, two)
    finally:
        torch._dynamo.reset()


class _Called(nn.Module):
    def __init__(self, layer: Layer, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.layer, self.kwargs = layer, kwargs

    def forward(self, *args: Any) -> Any:
        return self.layer(*args, **self.kwargs)
