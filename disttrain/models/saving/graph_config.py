"""The graph of a functional model as Keras's config, and back."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import Operation
from disttrain.layers.structure import flatten, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.functional import Graph, Ref
from disttrain.models.saving.deserialize import deserialize_object, plain
from disttrain.models.saving.serialize import serialize_object


def graph_config(graph: Graph) -> dict[str, Any]:
    """`layers` with their calls, and which tensors are `input_layers` and `output_layers`."""

    def address(ref: Ref) -> list[Any]:
        slot = graph.slots[ref.slot]
        return [graph.layers[slot.layer].name, slot.call, slot.index]

    def end(ref: Ref) -> list[Any]:
        name, call, index = address(ref)
        return [name, call + _first_end(graph.layers[graph.slots[ref.slot].layer]), index]

    def argument(value: Any) -> Any:
        if isinstance(value, Ref):
            slot = graph.slots[value.slot]
            described = {"shape": list(slot.shape), "dtype": slot.dtype, "keras_history": address(value)}
            return {"class_name": "__keras_tensor__", "config": described}
        if isinstance(value, dict):
            return {key: argument(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [argument(item) for item in value]
        return serialize_object(value)

    layers = []
    for place, layer in enumerate(graph.layers):
        calls = sorted((call for call in graph.calls if call.layer == place), key=lambda call: call.number)
        nodes = [{"args": argument(list(call.args)), "kwargs": argument(call.kwargs)} for call in calls]
        layers.append({**serialize_object(layer), "name": layer.name, "inbound_nodes": nodes})
    return {
        "layers": layers,
        "input_layers": map_structure(end, graph.inputs),
        "output_layers": map_structure(end, graph.outputs),
    }


def graph_ends(config: dict[str, Any]) -> tuple[Any, Any]:
    """(inputs, outputs) as symbolic tensors, found by making the layers of `config` and calling them as it says.

    Raises:
        ValueError: calls that depend on each other in a circle, or on what is not there.
    """
    layers: dict[str, Layer] = {}
    waiting: list[tuple[Layer, list[Any]]] = []
    for data in config["layers"]:
        layer = deserialize_object(data)
        name = data.get("name", layer.name)
        if not isinstance(name, str) or name in layers:
            raise ValueError(f"the file's model has two layers called {name!r}.")
        layers[name] = layer
        nodes = data.get("inbound_nodes") or []
        if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
            raise ValueError(f"layer {name!r}: inbound_nodes in a form that only Keras 2 wrote.\n  try  save the model anew with Keras 3")
        if nodes:
            waiting.append((layer, list(nodes)))

    # A layer that stands in two models of one file has calls already: those of this graph come after them.
    calls_before = {name: 0 if _is_input(layer) else len(layer._nodes) for name, layer in layers.items()}

    def tensor(address: Any, is_end: bool = False) -> SymbolicTensor | None:
        """The tensor at [layer, call, index]; None if that call is still to be made."""
        if not _is_address(address) or address[0] not in layers:
            raise ValueError(f"the file's model refers to {address!r}, which is not one of its layers' outputs.")
        layer = layers[address[0]]
        number = address[1] - (_first_end(layer) if is_end else 0)
        if number < 0 or calls_before[address[0]] + number >= len(layer._nodes):
            return None
        outputs = flatten(layer._nodes[calls_before[address[0]] + number].outputs)
        if not 0 <= address[2] < len(outputs):
            raise ValueError(f"the file's model refers to {address!r}: that call has {len(outputs)} outputs.")
        return outputs[address[2]]  # type: ignore[no-any-return]

    while waiting:
        left = []
        progress = False
        for layer, nodes in waiting:
            while nodes:
                args, kwargs, complete = _arguments(layer, nodes[0], tensor)
                if not complete:
                    break
                layer(*args, **kwargs)
                nodes.pop(0)
                progress = True
            if nodes:
                left.append((layer, nodes))
        if left and not progress:
            raise ValueError(f"the file's model has calls that wait for each other: {', '.join(layer.name for layer, _ in left)}.")
        waiting = left

    def end(structure: Any) -> Any:
        if _is_address(structure):
            found = tensor(structure, is_end=True)
            if found is None:
                raise ValueError(f"the file's model refers to {structure!r}, a call that is not there.")
            return found
        if isinstance(structure, dict):
            return {key: end(item) for key, item in structure.items()}
        if isinstance(structure, list | tuple):
            return [end(item) for item in structure]
        raise ValueError(f"the file's model has {structure!r} among its inputs and outputs.")

    return end(config["input_layers"]), end(config["output_layers"])


def _is_address(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(number, int) and not isinstance(number, bool) for number in value[1:])
    )


def _is_input(layer: Layer) -> bool:
    return hasattr(layer, "batch_shape")


def _arguments(layer: Layer, node: dict[str, Any], tensor: Any) -> tuple[list[Any], dict[str, Any], bool]:
    """(args, kwargs, are all tensors there) of a call.

    Masks that Keras left as None are dropped, and masks that `call` does not take: they ride on the tensors as well.
    """
    complete = True

    def value(data: Any) -> Any:
        nonlocal complete
        if isinstance(data, list):
            return [value(item) for item in data]
        if isinstance(data, dict):
            if data.get("class_name") == "__keras_tensor__":
                found = tensor(data["config"]["keras_history"])
                complete = complete and found is not None
                return found
            if "class_name" in data:
                return plain(data)
            return {key: value(item) for key, item in data.items()}
        return data

    args = [value(item) for item in node.get("args", [])]
    given = {key: value(item) for key, item in node.get("kwargs", {}).items()}
    taken = None if isinstance(layer, Operation) else layer._signature.call_names
    kwargs = {
        key: item
        for key, item in given.items()
        if not (key == "mask" or key.endswith("_mask")) or (item is not None and (taken is None or key in taken))
    }
    return args, kwargs, complete


def _first_end(layer: Layer) -> int:
    """Among inputs and outputs, but not among arguments, Keras counts the calls of a functional model inside from 1."""
    return 1 if getattr(layer, "_graph", None) is not None else 0
