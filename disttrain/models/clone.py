"""The same layers again, with weights of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.core.lambda_layer import Lambda
from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import Operation
from disttrain.layers.structure import flatten, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.functional import Ref
from disttrain.models.model import Model
from disttrain.models.sequential import Sequential

Clone = Callable[[Layer], Layer]


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Clone | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A model of the same layers, made anew: same configs and names, fresh weights.

    Args:
        input_tensors: symbolic tensors to build on, in the order of `model.inputs`; new Inputs unless given.
        clone_function: (layer) -> the layer to use instead; from its config unless given. Inputs and operations are not handed to it.
        call_function: (layer, *args, **kwargs) -> outputs, in place of the plain call; of functional models only.
        recursive: treat the models inside in the same way, instead of handing them to `clone_function`.

    Example:
        >>> from disttrain.layers import Dense, Input
        >>> x = Input((3,))
        >>> clone_model(Model(x, Dense(2)(x))).count_params()
        8

    Raises:
        ValueError: a model whose `call` is code, together with arguments that need its graph.
    """
    if not isinstance(model, Model):
        raise ValueError(f"clone_model({model!r}): expected a model.")
    own_graph = model._graph is not None
    if call_function is not None and not own_graph:
        raise ValueError(f"clone_model(call_function=...): {model._described()} is no functional model.")

    def again(layer: Layer) -> Layer:
        if recursive and isinstance(layer, Model):
            calling = call_function if layer._graph is not None else None
            return clone_model(layer, None, clone_function, calling, True)  # type: ignore[no-any-return]
        return fresh_layer(layer) if clone_function is None else clone_function(layer)

    if isinstance(model, Sequential):
        return _clone_chain(model, input_tensors, again)
    if own_graph:
        return _clone_graph(model, input_tensors, again, call_function)
    if input_tensors is not None or clone_function is not None:
        raise ValueError(
            f"clone_model: {model._described()} is defined by its call(), so neither input_tensors nor clone_function can apply.\n"
            "  try  clone_model(model) alone, which needs get_config()"
        )
    return fresh_layer(model)


def fresh_layer(layer: Layer) -> Layer:
    """A layer like `layer`, from its config, with weights of its own; layers inside it are made anew too."""
    if isinstance(layer, Operation):
        return layer.declared.from_config(layer.get_config())
    if isinstance(layer, Model) and (isinstance(layer, Sequential) or layer._graph is not None):
        return clone_model(layer)  # type: ignore[no-any-return]
    config = layer.get_config()
    if not isinstance(layer, Lambda):
        config = _fresh(config)
    return type(layer).from_config(config)  # type: ignore[no-any-return]


def _fresh(value: Any) -> Any:
    if isinstance(value, Layer):
        return fresh_layer(value)
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_fresh(item) for item in value)
    return value


def _clone_chain(model: Sequential, input_tensors: Any, again: Clone) -> Sequential:
    layers = [again(layer) for layer in model.layers]
    if input_tensors is None:
        start = None if model._input_layer is None else InputLayer.from_config(model._input_layer.get_config())
    else:
        tensors = flatten(input_tensors)
        if len(tensors) != 1:
            raise ValueError(f"clone_model: {len(tensors)} input_tensors, but a Sequential has one input.")
        start = tensors[0].node.layer if isinstance(tensors[0], SymbolicTensor) and tensors[0].node is not None else tensors[0]
        if not isinstance(start, InputLayer):
            raise ValueError(f"clone_model(input_tensors={input_tensors!r}): expected what Input() gave.")
    clone = type(model)([*([] if start is None else [start]), *layers], name=model.name)
    if not model.trainable:
        clone.trainable = False
    return clone


def _clone_graph(model: Model, input_tensors: Any, again: Clone, call_function: Callable[..., Any] | None) -> Model:
    graph = model._graph
    assert graph is not None
    values: list[Any] = [None] * len(graph.slots)
    starts = [graph.slots[ref.slot].layer for ref in flatten(graph.inputs)]
    if input_tensors is None:
        tensors = [InputLayer.from_config(graph.layers[start].get_config()).output for start in starts]
    else:
        tensors = flatten(input_tensors)
        if len(tensors) != len(starts):
            raise ValueError(f"clone_model: {len(tensors)} input_tensors, expected {len(starts)}, one for each input.")
    for ref, tensor in zip(flatten(graph.inputs), tensors, strict=True):
        values[ref.slot] = tensor
    clones: dict[int, Layer] = {}

    def filled(template: Any) -> Any:
        return map_structure(lambda leaf: values[leaf.slot] if isinstance(leaf, Ref) else leaf, template)

    for call in graph.calls:
        if call.layer not in clones:
            layer = graph.layers[call.layer]
            clones[call.layer] = fresh_layer(layer) if isinstance(layer, Operation) else again(layer)
        args, kwargs = filled(list(call.args)), filled(call.kwargs)
        layer = clones[call.layer]
        outputs = layer(*args, **kwargs) if call_function is None else call_function(layer, *args, **kwargs)
        for slot, leaf in zip(call.outputs, flatten(outputs), strict=True):
            values[slot] = leaf
    cls = type(model) if type(model).__init__ is Model.__init__ else Model
    clone = cls(inputs=filled(graph.inputs), outputs=filled(graph.outputs), name=model.name)
    if not model.trainable:
        clone.trainable = False
    return clone
