"""The same layer here and in Keras: same weights in, same outputs, gradients, shapes and configs out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.layers import Layer
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.structure import flatten, map_structure
from disttrain.models.saving import serialize_object

# What a config of either side may hold that says where a thing comes from, not what it is.
_ORIGIN = ("module", "registered_name", "shared_object_id", "build_config", "name")
_KERAS_ONLY = ("quantization_config", "lora_rank", "lora_alpha")


def build_pair(make: Callable[[Any], Any], args: list[Any], call: dict[str, Any] | None = None) -> tuple[Layer, Any]:
    """(our layer, Keras's), both called once on `args`, with the same random weights.

    The number, order and shapes of the weights are compared on the way.
    """
    ours, theirs = make(L), make(keras.layers)
    with torch.no_grad():
        ours(*tensors(args), **tensors(call or {}))
        theirs(*tensors(args), **tensors(call or {}))
    shapes = [tuple(weight.shape) for weight in ours.weights]
    kept = [weight for weight in theirs.weights if "seed_generator" not in weight.path]
    assert shapes == [tuple(weight.shape) for weight in kept], "weights: ours, then Keras's"
    assert [w.requires_grad for w in ours.weights] == [w.trainable for w in kept], "which weights are trainable"
    random = np.random.default_rng(3)
    values = [_moved(np.asarray(weight), random) for weight in ours.get_weights()]
    ours.set_weights(values)
    for weight, value in zip(kept, values, strict=True):
        weight.assign(value)
    return ours, theirs


def assert_same_layer(
    make: Callable[[Any], Any],
    inputs: Any,
    call: dict[str, Any] | None = None,
    *,
    spread: bool = False,
    training: bool = True,
    gradients: bool = True,
    tolerance: float = 1e-5,
    config: bool = True,
) -> None:
    """Compare `make(disttrain.layers)` and `make(keras.layers)` on `inputs`.

    Args:
        inputs: arrays or structures of them; with `spread` a list of positional arguments.
        call: further arguments by name, on both sides.
        training: compare also in training mode, with its outputs, losses, gradients and moved statistics.
        gradients: compare the gradients of trainable weights and float inputs.
        tolerance: relative and absolute, float32.
        config: compare get_config() and compute_output_shape().
    """
    args, call = (list(inputs) if spread else [inputs]), dict(call or {})
    ours, theirs = build_pair(make, args, call)
    for mode in (False, True) if training else (False,):
        mine, my_leaves, my_losses = _called(ours, args, call, mode, own=True)
        other, other_leaves, other_losses = _called(theirs, args, call, mode, own=False)
        assert [tuple(t.shape) for t in mine] == [tuple(t.shape) for t in other], f"output shapes, training={mode}"
        for number, (one, two) in enumerate(zip(mine, other, strict=True)):
            assert str(one.dtype) == str(two.dtype), f"dtype of output {number}"
            _close(one, two, tolerance, f"output {number}, training={mode}")
        _close(my_losses, other_losses, tolerance, "added losses")
        if gradients:
            _same_gradients(ours, theirs, (mine, my_leaves, my_losses), (other, other_leaves, other_losses), tolerance * 10)
        buffers = [w for w in theirs.non_trainable_weights if "seed_generator" not in w.path]
        for one, two in zip(ours.non_trainable_weights, buffers, strict=True):
            _close(one, two.value, tolerance, f"{two.path}, training={mode}")
    if config:
        assert normal(serialize_object(ours.get_config())) == normal(keras.saving.serialize_keras_object(theirs)["config"])
        shapes = map_structure(lambda x: (None, *np.shape(x)[1:]), args[0])
        if len(args) == 1 and not isinstance(args[0], dict) and all(np.ndim(leaf) for leaf in flatten(args[0])):
            assert _listed(ours.compute_output_shape(shapes)) == _listed(theirs.compute_output_shape(shapes)), "compute_output_shape"


def tensors(structure: Any) -> Any:
    """Arrays as tensors; anything else stays."""
    return map_structure(lambda x: torch.as_tensor(x) if isinstance(x, np.ndarray) else x, structure)


def normal(config: Any) -> Any:
    """A config without what says where a thing comes from: names, modules, the spelling of dtypes; and without what is None."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config["config"]["name"]
        if config.get("class_name") == "function":
            return config["config"]
        return {key: normal(value) for key, value in config.items() if value is not None and key not in (*_ORIGIN, *_KERAS_ONLY)}
    if isinstance(config, list | tuple):
        return [normal(item) for item in config]
    return float(f"{config:.6g}") if isinstance(config, float) else config  # Keras keeps some numbers as float32


def _called(layer: Any, args: list[Any], call: dict[str, Any], training: bool, own: bool) -> tuple[list[Tensor], list[Tensor], Tensor]:
    given = map_structure(lambda x: x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x, tensors(args))
    leaves = [leaf for leaf in flatten(given) if isinstance(leaf, Tensor) and leaf.requires_grad]
    options = dict(tensors(call))
    if own:
        with call_context(CallContext(training=training, key=5)) as context:
            outputs = layer(*given, **options)
        losses = sum((loss for loss in [*context.losses, *layer.regularization_losses()]), torch.zeros(()))
    else:
        if layer._call_has_training_arg:
            options["training"] = training
        outputs = layer(*given, **options)
        losses = sum(layer.losses, torch.zeros(()))
    return [leaf for leaf in flatten(outputs) if leaf is not None], leaves, losses


def _same_gradients(ours: Layer, theirs: Any, mine: Any, other: Any, tolerance: float) -> None:
    found = []
    for layer, (outputs, leaves, losses) in ((ours, mine), (theirs, other)):
        weights = [w if isinstance(w, torch.nn.Parameter) else w.value for w in layer.trainable_weights]
        total = sum((torch.sin(o).sum() for o in outputs if o.is_floating_point() and o.requires_grad), losses)
        if not total.requires_grad or not (weights or leaves):
            return
        found.append(torch.autograd.grad(total, [*weights, *leaves], allow_unused=True))
    for number, (one, two) in enumerate(zip(*found, strict=True)):
        one, two = (torch.zeros(()) if g is None else g for g in (one, two))
        _close(one, two, tolerance, f"gradient {number}")


def _close(one: Any, two: Any, tolerance: float, what: str) -> None:
    one, two = (np.asarray(torch.as_tensor(value).detach()) for value in (one, two))
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance, err_msg=what)


def _moved(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Not the initial zeros and ones, which hide errors; still positive where it was, as variances must be."""
    if value.dtype.kind != "f":
        return value
    return (value + 0.2 * np.abs(random.standard_normal(value.shape))).astype(value.dtype)


def _listed(shape: Any) -> Any:
    return [_listed(item) for item in shape] if isinstance(shape, list | tuple) else shape
