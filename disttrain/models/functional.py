"""The graph of a functional model: found once from symbolic tensors, then a flat list of calls.

Values live in numbered slots while the list runs. The graph itself holds layers, slots and arguments only; the symbolic tensors that it
was made from reach into other models and are left behind by pickle, and made again when asked for.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import text
from disttrain.alignment import on_border
from disttrain.layers import masking
from disttrain.layers.context import innermost
from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.dtypes import DTYPES
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, map_structure
from disttrain.layers.symbolic import Node, Shape, SymbolicTensor
from disttrain.models.mask_nodes import mask_inputs


@dataclass(frozen=True, slots=True)
class Ref:
    """A place in arguments where the value of a slot goes."""

    slot: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor of the graph: output `index` of call `call` (counted within this graph) of layer number `layer`."""

    layer: int
    call: int
    index: int
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer: arguments with Refs, the slots of its outputs, and the slots that nothing needs after it."""

    layer: int
    number: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    spent: tuple[int, ...]


class Graph:
    """What a functional model computes.

    Args:
        inputs, outputs: symbolic tensors, alone or in lists, tuples and dicts.
        described: the model's name for errors.

    Raises:
        ValueError: not symbolic tensors, an output that does not depend on the inputs alone, two layers of one name.
    """

    def __init__(self, inputs: Any, outputs: Any, described: str) -> None:
        self.described = described
        for argument, structure in (("inputs", inputs), ("outputs", outputs)):
            for leaf in flatten(structure):
                if not isinstance(leaf, SymbolicTensor) or leaf.node is None:
                    raise ValueError(f"{described}: {argument} holds {leaf!r}, expected what Input() or a layer called on it gave.")
        inputs, heads = _as_inputs(inputs)
        nodes, indices = _sorted_nodes(flatten(outputs), heads, {})
        masks = mask_inputs(nodes)
        if masks:
            nodes, indices = _sorted_nodes(flatten(outputs), heads, masks)
        self.layers: list[Layer] = _ordered_layers(nodes, indices, flatten(inputs), heads, masks)
        nodes = [node for node in nodes if isinstance(node, Node)]
        self._check_names()
        places = {id(layer): number for number, layer in enumerate(self.layers)}
        slots: dict[int, int] = {}
        self.slots: list[Slot] = []
        calls: dict[int, int] = {}
        numbers: dict[int, int] = {}  # of each node among those of its layer that are in the graph
        for node in sorted(nodes, key=lambda node: node.number):
            numbers[id(node)] = calls.get(id(node.layer), 0)
            calls[id(node.layer)] = numbers[id(node)] + 1

        def slot_of(tensor: SymbolicTensor) -> int:
            if id(tensor) not in slots:
                assert tensor.node is not None
                slots[id(tensor)] = len(self.slots)
                number = numbers.get(id(tensor.node), 0)
                self.slots.append(Slot(places[id(tensor.node.layer)], number, tensor.index, tensor.shape, tensor.dtype))
            return slots[id(tensor)]

        def with_refs(value: Any) -> Any:
            return Ref(slot_of(heads.get(id(value), value))) if isinstance(value, SymbolicTensor) else value

        self.inputs = map_structure(with_refs, inputs)
        found = [
            (
                places[id(node.layer)],
                numbers[id(node)],
                tuple(map_structure(with_refs, list(node.args))),
                map_structure(with_refs, node.kwargs),
                tuple(slot_of(output) for output in flatten(node.outputs)),
            )
            for node in nodes
            if not isinstance(node.layer, InputLayer)
        ]
        self.outputs = map_structure(with_refs, outputs)
        self.calls = _with_spent(found, {ref.slot for ref in flatten(self.outputs)})
        self._ends: tuple[Any, Any] | None = (inputs, map_structure(lambda tensor: heads.get(id(tensor), tensor), outputs))
        self._has_warned = False
        self._prepare()

    def _check_names(self) -> None:
        names: dict[str, Layer] = {}
        for layer in self.layers:
            if names.setdefault(layer.name, layer) is not layer:
                raise ValueError(
                    f"{self.described}: two layers are called {layer.name!r}.\n  expected  unique names\n  try  name= in a constructor"
                )

    def _prepare(self) -> None:
        """Lay the calls out for `run`: one input and one output, by far the most calls, take the short way."""
        self._input_slots = [ref.slot for ref in flatten(self.inputs)]
        alone = isinstance(self.outputs, list | tuple) and len(self.outputs) == 1
        self._given = self.outputs[0] if alone else self.outputs  # as in Keras: `Model(x, [y])` gives y
        self._steps = []
        for call in self.calls:
            single = len(call.args) == 1 and isinstance(call.args[0], Ref) and not call.kwargs
            source = call.args[0].slot if single else -1
            target = call.outputs[0] if len(call.outputs) == 1 else -1
            self._steps.append((self.layers[call.layer], source, call.args, call.kwargs, target, call.outputs, call.spent))

    # -- running --------------------------------------------------------------------------------------------------------------------

    def run(self, leaves: list[Any]) -> Any:
        """The outputs for the inputs, given flat, in the order of `flatten(self.inputs)`."""
        values: list[Any] = [None] * len(self.slots)
        for slot, leaf in zip(self._input_slots, leaves, strict=True):
            values[slot] = leaf
        for layer, source, args, kwargs, target, outputs, spent in self._steps:
            if source >= 0:  # noqa: SIM108
                result = layer(values[source])
            else:
                result = layer(*_filled(args, values), **_without_training(_filled(kwargs, values)))
            if target >= 0 and not isinstance(result, list | tuple | dict):
                values[target] = result
            else:
                for slot, leaf in zip(outputs, flatten(result), strict=True):
                    values[slot] = leaf
            for slot in spent:
                values[slot] = None
        return _filled(self._given, values)

    def infer(self, leaves: list[SymbolicTensor]) -> Any:
        """Like `run`, on symbolic tensors and without leaving a trace in the layers."""
        values: list[Any] = [None] * len(self.slots)
        for slot, leaf in zip(self._input_slots, leaves, strict=True):
            values[slot] = leaf
        for call in self.calls:
            result = self.layers[call.layer].compute_output_spec(*_filled(call.args, values), **_filled(call.kwargs, values))
            for slot, leaf in zip(call.outputs, flatten(result), strict=True):
                values[slot] = leaf
        return _filled(self._given, values)

    def match(self, data: Any) -> list[Any]:
        """`data` as a flat list in the order of the inputs; of the rank and dtype that the inputs declare.

        Dicts find inputs by key, or by name where the inputs are no dict; keys that are no input's are left alone.

        Raises:
            ValueError: another number of inputs, a name that is missing, a shape that does not fit.
        """
        leaves = self._arranged(data)
        return [self._fitted(leaf, self.slots[slot], slot) for leaf, slot in zip(leaves, self._input_slots, strict=True)]

    def _arranged(self, data: Any) -> list[Any]:
        wanted = self.inputs
        if isinstance(wanted, Ref) and isinstance(data, Tensor | SymbolicTensor):
            return [data]
        names = [self.layers[self.slots[slot].layer].name for slot in self._input_slots]
        if isinstance(data, dict):
            keys = sorted(wanted) if isinstance(wanted, dict) and all(isinstance(ref, Ref) for ref in wanted.values()) else names
            missing = [key for key in keys if key not in data]
            if not missing:
                if len(data) > len(keys):
                    self._warn_of_structure(data)
                return [data[key] for key in keys]
            if isinstance(wanted, dict) and all(name in data for name in names):
                self._warn_of_structure(data)
                return [data[name] for name in names]
            nearest = difflib.get_close_matches(missing[0], [str(key) for key in data], n=len(data), cutoff=0.0)
            raise ValueError(f"{self.described}: the data has no {missing[0]!r}.\n  expected  {keys}\n  found     {nearest}, nearest first")
        if isinstance(wanted, dict) and list(wanted) != sorted(wanted):
            raise ValueError(f"{self.described}: the inputs are a dict with keys {list(wanted)}; pass a dict, not {type(data).__name__}.")
        leaves = flatten(data)
        if isinstance(wanted, dict):
            self._warn_of_structure(data)
        if len(leaves) != len(self._input_slots):
            raise ValueError(f"{self.described}: got {len(leaves)} tensors, expected {len(self._input_slots)}: {', '.join(names)}.")
        return leaves

    def _warn_of_structure(self, data: Any) -> None:
        """Once: the data can be read, though they are built otherwise than the inputs."""
        if self._has_warned or torch.compiler.is_compiling():
            return
        self._has_warned = True
        expected = map_structure(lambda ref: self.layers[self.slots[ref.slot].layer].name, self.inputs)
        received = map_structure(lambda leaf: "None" if leaf is None else f"Tensor(shape={tuple(getattr(leaf, 'shape', ()))})", data)
        text = f"The structure of `inputs` doesn't match the expected structure.\nExpected: {expected}\nReceived: inputs={received}"
        warnings.warn(text, stacklevel=2)

    def _fitted(self, leaf: Any, slot: Slot, number: int) -> Any:
        if isinstance(leaf, SymbolicTensor):
            return leaf
        if leaf is None:
            if getattr(self.layers[slot.layer], "optional", False):
                return None
            raise ValueError(
                f"{self.described}: input {self.layers[slot.layer].name!r} is not optional, and None was given.\n"
                "  try  Input(..., optional=True)"
            )
        if not isinstance(leaf, Tensor):
            leaf = text.text_tensor(leaf) if text.holds_text(leaf) else on_border(torch.as_tensor(np.asarray(leaf)))
        given, dtype, shape = leaf, DTYPES.get(slot.dtype), slot.shape
        if dtype is None or leaf.dtype is text.TEXT:
            described = f"{self.described}: input {self.layers[slot.layer].name!r}"
            leaf = text.fitted(leaf, slot.dtype, shape, described)
            if not fits(leaf[..., 0], shape):
                raise ValueError(f"{described} has shape {tuple(leaf.shape[:-1])}, expected {shape}, None for any size.")
            return leaf
        if leaf.dtype is not dtype:
            leaf = leaf.to(dtype)
        if leaf.ndim == len(shape) - 1 and shape[-1] == 1:
            leaf = leaf.unsqueeze(-1)
        elif leaf.ndim == len(shape) + 1 and leaf.shape[-1] == 1:
            leaf = leaf.squeeze(-1)
        if leaf is not given:
            masking.like(given, leaf)
        if not fits(leaf, shape):
            name = self.layers[slot.layer].name
            raise ValueError(f"{self.described}: input {name!r} has shape {tuple(leaf.shape)}, expected {shape}, None for any size.")
        return leaf

    # -- symbolic tensors -----------------------------------------------------------------------------------------------------------

    def ends(self) -> tuple[Any, Any]:
        """(inputs, outputs) as symbolic tensors; in a copy that was unpickled, found anew by calling every layer on them."""
        if self._ends is None:
            values: list[Any] = [None] * len(self.slots)
            for slot in self._input_slots:
                values[slot] = self.layers[self.slots[slot].layer].output
            for call in self.calls:
                result = self.layers[call.layer](*_filled(call.args, values), **_filled(call.kwargs, values))
                for slot, leaf in zip(call.outputs, flatten(result), strict=True):
                    values[slot] = leaf
            self._ends = _filled(self.inputs, values), _filled(self.outputs, values)
        return self._ends

    def output_names(self) -> list[str]:
        """The name of the layer that gives each output."""
        return [self.layers[self.slots[ref.slot].layer].name for ref in flatten(self.outputs)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ends": None}


def fits(tensor: Tensor, shape: Shape) -> bool:
    """Has `tensor` the shape that an Input declares? In a run the batch comes in slices, so a batch size says nothing about one."""
    if shape and shape[0] is not None and (context := innermost()) is not None and context.rows is not None:
        shape = (None, *shape[1:])
    return tensor.ndim == len(shape) and not any(size is not None and size != own for size, own in zip(shape, tensor.shape, strict=True))


def carrying(leaves: list[Any], masks: Any) -> list[Any]:
    """Tensors that carry masks, given in their order, where they carry none: copies that share their values."""
    if masks is None:
        return leaves
    own = flatten(masks) if isinstance(masks, list | tuple | dict) else [masks]
    if len(own) != len(leaves):
        raise ValueError(f"mask: got {len(own)} masks, expected {len(leaves)}, one for each input, None for no mask.")
    found = []
    for leaf, mask in zip(leaves, own, strict=True):
        if isinstance(leaf, Tensor) and mask is not None and masking.mask_of(leaf) is None:
            mask = torch.as_tensor(mask, dtype=torch.bool, device=leaf.device)
            if tuple(mask.shape) != tuple(leaf.shape[: mask.ndim]):
                raise ValueError(f"mask: a mask of shape {tuple(mask.shape)} does not fit an input of shape {tuple(leaf.shape)}.")
            leaf = leaf.view_as(leaf)
            leaf._keras_mask = mask  # type: ignore[attr-defined]
        found.append(leaf)
    context = innermost()
    if context is not None:
        context.masked = True
    return found


def _filled(template: Any, values: list[Any]) -> Any:
    return map_structure(lambda leaf: values[leaf.slot] if isinstance(leaf, Ref) else leaf, template)


def _without_training(kwargs: dict[str, Any]) -> dict[str, Any]:
    """As in Keras, what the model is told about training wins over what a call in the graph recorded."""
    context = innermost()
    if "training" in kwargs and context is not None and context.training is not None:
        return {name: value for name, value in kwargs.items() if name != "training"}
    return kwargs


def _as_inputs(inputs: Any) -> tuple[Any, dict[int, SymbolicTensor]]:
    """Inputs that come from Input(); a tensor from the middle of a graph gets an Input of its own. Also {id of those: their Input}."""
    heads: dict[int, SymbolicTensor] = {}

    def head(tensor: SymbolicTensor) -> SymbolicTensor:
        assert tensor.node is not None
        if isinstance(tensor.node.layer, InputLayer):
            return tensor
        heads[id(tensor)] = InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype).output
        return heads[id(tensor)]

    return map_structure(head, inputs), heads


def _sorted_nodes(
    outputs: list[SymbolicTensor], heads: dict[int, SymbolicTensor], masks: dict[int, list[SymbolicTensor]]
) -> tuple[list[Node], dict[int, int]]:
    """The calls that `outputs` depend on, each after those it needs, and the order in which layers were met: Keras's depth-first walk.

    `masks` are what calls need besides their arguments.
    """
    order: list[Node] = []
    done: set[int] = set()
    indices: dict[int, int] = {}

    def node_of(tensor: SymbolicTensor) -> Node:
        node = heads.get(id(tensor), tensor).node
        assert node is not None
        return node

    for output in outputs:
        stack: list[tuple[Node, Iterator[SymbolicTensor]]] = []

        def enter(node: Node, stack: list[tuple[Node, Iterator[SymbolicTensor]]] = stack) -> None:
            if id(node) not in done:
                done.add(id(node))
                indices.setdefault(id(node.layer), len(indices))
                stack.append((node, iter([*node.inputs, *masks.get(id(node), ())])))

        enter(node_of(output))
        while stack:
            node, parents = stack[-1]
            parent = next(parents, None)
            if parent is None:
                order.append(node)
                stack.pop()
            else:
                enter(node_of(parent))
    return order, indices


def _ordered_layers(
    nodes: list[Node],
    indices: dict[int, int],
    inputs: list[SymbolicTensor],
    heads: dict[int, SymbolicTensor],
    masks: dict[int, list[SymbolicTensor]],
) -> list[Layer]:
    """Layers by decreasing distance from the outputs, then as met: Keras's order, which names the groups of weights in its files."""
    depths: dict[int, int] = {}
    layer_depths: dict[int, int] = {}
    layers: dict[int, Any] = {}
    for node in reversed(nodes):
        depth = max(depths.get(id(node), 0), layer_depths.get(id(node.layer), 0))
        depths[id(node)] = layer_depths[id(node.layer)] = depth
        if isinstance(node, Node):
            layers[id(node.layer)] = node.layer
        for tensor in (*node.inputs, *masks.get(id(node), ())):
            parent = heads.get(id(tensor), tensor).node
            depths[id(parent)] = max(depth + 1, depths.get(id(parent), 0))
    given = {id(tensor.node.layer) for tensor in inputs if tensor.node is not None}
    for layer in layers.values():
        if isinstance(layer, InputLayer) and id(layer) not in given:
            raise ValueError(f"the outputs depend on the input {layer.name!r}, which is not among the model's inputs.")
    for tensor in inputs:  # an input that no output needs is still an input
        assert tensor.node is not None
        if id(tensor.node.layer) not in layers:
            layers[id(tensor.node.layer)] = tensor.node.layer
            layer_depths[id(tensor.node.layer)] = 0
            indices[id(tensor.node.layer)] = -1
    return sorted(layers.values(), key=lambda layer: (-layer_depths[id(layer)], indices[id(layer)]))


def _with_spent(found: list[tuple[Any, ...]], kept: set[int]) -> list[Call]:
    """The calls, each with the slots that it is the last to need."""
    calls: list[Call] = []
    for layer, number, args, kwargs, outputs in reversed(found):
        needed = {leaf.slot for leaf in flatten([list(args), kwargs]) if isinstance(leaf, Ref)} | set(outputs)
        spent = tuple(sorted(needed - kept))
        kept = kept | needed
        calls.append(Call(layer, number, args, kwargs, outputs, spent))
    return calls[::-1]


__all__ = ["Call", "Graph", "Ref", "Slot", "carrying"]
