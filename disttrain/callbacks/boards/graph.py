"""The graph of layers as TensorBoard's graph page draws it: a node for each call of a layer, nested models as boxes to open."""

from __future__ import annotations

from typing import Any

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.structure import flatten

_SETTINGS = (
    "units",
    "filters",
    "kernel_size",
    "strides",
    "padding",
    "pool_size",
    "rate",
    "axis",
    "input_dim",
    "output_dim",
    "target_shape",
)


def graph_def(model: Any) -> Any:
    """A `GraphDef` of the model; None where there are no layers to show.

    Each node has the layer's class as `op`, and as attributes the shapes it gives, its weights and its settings. Of a model that is
    code, the layers alone: which of them feeds which is known to its `call` only.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    if not getattr(model, "layers", None):
        return None
    graph = GraphDef(versions=VersionDef(producer=22))
    _add_model(graph, model, "", None)
    return graph


def _add_model(graph: Any, model: Any, scope: str, sources: list[str] | None) -> list[str]:
    """Add what is in `model` under `scope`; `sources` are the nodes that feed it, None at the top. Gives the nodes of its outputs."""
    inner = getattr(model, "_graph", None)
    if inner is None:
        return _add_chain(graph, model, scope, sources)
    nodes: dict[int, str] = {}
    for place, slot in enumerate(flatten(inner.inputs)):
        fed = [sources[min(place, len(sources) - 1)]] if sources else []
        nodes[slot.slot] = _add_layer(graph, inner.layers[inner.slots[slot.slot].layer], scope, fed, [inner.slots[slot.slot].shape])[0]
    counts: dict[int, int] = {}
    for call in inner.calls:
        counts[call.layer] = counts.get(call.layer, 0) + 1
    for call in inner.calls:
        fed = [nodes[leaf.slot] for leaf in flatten([list(call.args), call.kwargs]) if hasattr(leaf, "slot")]
        suffix = f"call_{call.number}" if counts[call.layer] > 1 else ""
        shapes = [inner.slots[slot].shape for slot in call.outputs]
        given = _add_layer(graph, inner.layers[call.layer], scope, fed, shapes, suffix)
        for place, slot in enumerate(call.outputs):
            nodes[slot] = given[min(place, len(given) - 1)]
    return [nodes[ref.slot] for ref in flatten(inner.outputs)]


def _add_chain(graph: Any, model: Any, scope: str, sources: list[str] | None) -> list[str]:
    chained = hasattr(model, "_chain")
    fed = sources or []
    layers = list(model.layers)
    start = getattr(model, "_input_layer", None)
    if chained and start is not None and start not in layers:
        layers = [start, *layers]
    for layer in layers:
        given = _add_layer(graph, layer, scope, fed, None)
        fed = given if chained else fed
    return fed


def _add_layer(graph: Any, layer: Any, scope: str, fed: list[str], shapes: Any, suffix: str = "") -> list[str]:
    name = "/".join(part for part in (scope, _plain(layer.name), suffix) if part)
    if getattr(layer, "layers", None) and hasattr(layer, "get_layer"):
        return _add_model(graph, layer, name, fed)
    node = graph.node.add(name=name, op=type(layer).__name__, input=fed)
    if shapes is None:
        shapes = _shapes(layer)
    for shape in shapes:
        entry = node.attr["_output_shapes"].list.shape.add()
        for size in shape:
            entry.dim.add(size=-1 if size is None else int(size))
    for key, weight in getattr(layer, "named_weights", list)():
        node.attr[f"weight {key}"].s = f"{tuple(weight.shape)} {str(weight.dtype).removeprefix('torch.')}".encode()
    for key in _SETTINGS:
        value = getattr(layer, key, None)
        if value is not None and isinstance(value, int | float | str | tuple | list):
            node.attr[key].s = str(value).encode()
    activation = getattr(layer, "activation", None)
    if activation is not None:
        node.attr["activation"].s = str(getattr(activation, "__name__", type(activation).__name__)).encode()
    if not isinstance(layer, InputLayer) and not getattr(layer, "trainable", True):
        node.attr["trainable"].b = False
    return [name]


def _shapes(layer: Any) -> list[tuple[int | None, ...]]:
    """Of the outputs, where they are known without the data."""
    if isinstance(layer, InputLayer):
        return [layer.batch_shape]
    called = getattr(layer, "_nodes", None)
    return [tensor.shape for tensor in flatten(called[0].outputs)] if called else []


def _plain(name: str) -> str:
    """A name without what means something in a GraphDef: `:` an output, `^` a control edge, `/` a box."""
    return "".join("_" if character in ":^/ " else character for character in name)
