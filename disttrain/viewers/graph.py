"""The layers of a model by path, and a drawing of them with what each of them can show."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.dtypes import DTYPES
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten
from disttrain.layers.tracking import named_weights
from disttrain.models.functional import Ref
from disttrain.models.layered_layout import place
from disttrain.models.summary import output_shapes, type_name
from disttrain.viewers import attention, kernels, recurrent
from disttrain.viewers.packing import ViewError

_CHARACTER, _LINES, _PADDING, _TITLE = 7.5, 46.0, 14.0, 30.0  # px: a letter's width, a box's height, inside a frame, above its layers
_NARROWEST, _WIDEST = 116.0, 300.0  # px, of a box
_MARGIN = 12.0  # px around the drawing
_LONGEST_TEXT, _LONGEST_LIST = 120, 12  # of what is shown of a config
_MOST_NAMES = 4  # in a message
_MOST_TO_ROUTE = 4000  # numbers of layers that edges pass, summed; where each layer feeds many, shortcuts are drawn straight


def layers(model: Any) -> dict[str, Layer]:
    """Every layer by path, such as "backbone/conv2d", in the order of the graph; where code says what feeds what, as they were made.

    Layers inside wrappers such as `Bidirectional` belong to them; those inside models, and inside layers that a user's class puts
    together, have paths of their own.
    """
    return {path: layer for path, layer, _ in _walk(model, "")}


def find(model: Any, path: str) -> Layer:
    """The layer at `path`.

    Raises:
        ViewError: no such layer; the nearest names are listed.
    """
    known = layers(model)
    if path in known:
        return known[path]
    nearest = difflib.get_close_matches(path, known, n=5, cutoff=0.0)
    raise ViewError(
        f"There is no layer {path!r} in {model.name!r}. The nearest names are {', '.join(nearest) or 'none: it has no layers'}."
    )


def parts(layer: Any) -> list[tuple[str, Layer]]:
    """(name, layer) of what is directly inside a model, inputs among them, or inside a layer of a user's class; else none."""
    graph = getattr(layer, "_graph", None)
    if graph is not None:
        inside = list(graph.layers)
    elif hasattr(layer, "_chain"):
        start = getattr(layer, "_input_layer", None)
        inside = list(layer._chain) if start is None else [start, *layer._chain]
    elif hasattr(layer, "get_layer"):
        inside = list(layer.layers)
    elif type(layer).__module__.startswith("disttrain."):
        return []
    else:
        inside = [child for child in layer.children() if isinstance(child, Layer)]
    names: dict[str, Layer] = {}
    for part in inside:
        name, number = part.name, 1
        while name in names:  # nothing forbids it where code puts them together
            number += 1
            name = f"{part.name}~{number}"
        names[name] = part
    return list(names.items())


def describe(model: Any) -> dict[str, Any]:
    """The drawing as JSON: size in px, `nodes` with their centres, and `edges` with the points they pass through.

    A model inside the model is a node that frames its own. Where code says what feeds what there is nothing to draw arrows from: the
    layers stand in a column in the order in which they were made, and `message` says so.
    """
    drawing = _drawn(model, model, "", None)
    for node in drawing.nodes:
        node["x"], node["y"] = round(node["x"] + _MARGIN, 1), round(node["y"] + _MARGIN, 1)
    for edge in drawing.edges:
        edge["points"] = [[round(x + _MARGIN, 1), round(y + _MARGIN, 1)] for x, y in edge["points"]]
    coded, message = [repr(name) for name in drawing.coded], None
    if coded:
        more = f" and {len(coded) - _MOST_NAMES} more" if len(coded) > _MOST_NAMES else ""
        message = f"What feeds what in {', '.join(coded[:_MOST_NAMES])}{more} is code: layers stand in the order in which they were made."
    return {
        "width": round(drawing.width + 2 * _MARGIN, 1),
        "height": round(drawing.height + 2 * _MARGIN, 1),
        "nodes": drawing.nodes,
        "edges": drawing.edges,
        "message": message,
    }


def views_of(layer: Layer, shapes: list[Any]) -> list[str]:
    """What can be shown of a layer that gives outputs of `shapes`, batch included."""
    found = ["activations"]
    if kernels.kernel_of(layer) is not None:
        found.append("filters")
    if recurrent.has_gates(layer):
        found.append("gates")
    if recurrent.has_states(layer):
        found.append("state")
    if attention.has_scores(layer):
        found.append("attention")
    if isinstance(layer, InputLayer):
        attributed = layer.dtype in DTYPES and DTYPES[layer.dtype].is_floating_point  # not of text
    else:
        attributed = bool(shapes) and len(shapes[0]) == 4 and not parts(layer)
    return [*found, "attribution"] if attributed else found


def family_of(layer: Any) -> str:
    """Which room of the package a layer comes from, such as "convolutional"; "input", "model", "operation", "custom"."""
    if isinstance(layer, InputLayer):
        return "input"
    if hasattr(layer, "get_layer"):
        return "model"
    if layer._is_operation:
        return "operation"
    module = type(layer).__module__.split(".")
    return module[2] if module[:2] == ["disttrain", "layers"] and len(module) > 3 else "custom"


def _walk(container: Any, prefix: str, above: tuple[int, ...] = ()) -> list[tuple[str, Layer, Any]]:
    found: list[tuple[str, Layer, Any]] = []
    for name, layer in parts(container):
        if id(layer) in above:
            continue
        found.append((prefix + name, layer, container))
        found += _walk(layer, f"{prefix}{name}/", (*above, id(layer)))
    return found


# -- drawing ----------------------------------------------------------------------------------------------------------------------------


@dataclass
class _Drawing:
    width: float = 0.0
    height: float = 0.0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    coded: list[str] = field(default_factory=list)  # names of what is put together by code


def _drawn(model: Any, container: Any, prefix: str, parent: str | None) -> _Drawing:
    """The inside of `container`, from (0, 0)."""
    inside = parts(container)
    if not inside:
        return _Drawing()
    connections, coded = _connections(container, len(inside))
    drawing = _Drawing(coded=[container.name] if coded else [])
    frames, sizes, own = [], [], []
    for name, layer in inside:
        path = prefix + name
        frame = _drawn(model, layer, f"{path}/", path)
        node = _node(model, container, layer, path, parent)
        width = max(len(node["name"]), len(node["type"]), len(_shape_text(node["shapes"]))) * _CHARACTER + 2 * _PADDING
        width, height = min(max(width, _NARROWEST), _WIDEST), _LINES
        if frame.nodes:
            width, height = max(width, frame.width + 2 * _PADDING), frame.height + _TITLE + _PADDING
        frames.append(frame)
        sizes.append((width, height))
        own.append(node)
    down = [edge for edge in connections if edge[0] < edge[1]]  # a layer that is called again makes rings
    if sum(two - one for one, two in down) > _MOST_TO_ROUTE:
        down = _without_shortcuts(down, len(inside))
    placed = place(sizes, down)
    drawing.width, drawing.height = placed.width, placed.height
    for node, (width, height), (x, y), frame in zip(own, sizes, placed.centres, frames, strict=True):
        node |= {"x": x, "y": y, "width": round(width, 1), "height": round(height, 1)}
        drawing.nodes.append(node)
        left, top = x - frame.width / 2, y - height / 2 + _TITLE
        for inner in frame.nodes:
            drawing.nodes.append({**inner, "x": inner["x"] + left, "y": inner["y"] + top})
        for edge in frame.edges:
            drawing.edges.append({**edge, "points": [(px + left, py + top) for px, py in edge["points"]]})
        drawing.coded += frame.coded
    routes = dict(zip(down, placed.edges, strict=True))
    for one, two in connections:
        straight = [
            (placed.centres[one][0], placed.centres[one][1] + sizes[one][1] / 2),
            (placed.centres[two][0], placed.centres[two][1] - sizes[two][1] / 2),
        ]
        drawing.edges.append({"source": own[one]["id"], "target": own[two]["id"], "points": routes.get((one, two), straight)})
    return drawing


def _connections(container: Any, count: int) -> tuple[list[tuple[int, int]], bool]:
    """Which part feeds which, by number; and whether code decides that, so that the order is all there is."""
    graph = getattr(container, "_graph", None)
    if graph is None:
        return list(pairwise(range(count))), not hasattr(container, "_chain")
    edges: dict[tuple[int, int], None] = {}
    for call in graph.calls:
        for leaf in flatten([list(call.args), call.kwargs]):
            if isinstance(leaf, Ref) and graph.slots[leaf.slot].layer != call.layer:
                edges[graph.slots[leaf.slot].layer, call.layer] = None
    return list(edges), False


def _without_shortcuts(edges: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The edges that no path over others replaces; all go from lower to higher numbers."""
    below: list[list[int]] = [[] for _ in range(count)]
    for one, two in edges:
        below[one].append(two)
    reached = [0] * count  # a bit for each number that can be reached
    kept = []
    for one in reversed(range(count)):
        for two in sorted(below[one]):
            if not reached[one] >> two & 1:
                kept.append((one, two))
                reached[one] |= reached[two] | 1 << two
    return kept[::-1]


def _node(model: Any, container: Any, layer: Layer, path: str, parent: str | None) -> dict[str, Any]:
    shapes = output_shapes(container if hasattr(container, "_graph") else model, layer) or []
    return {
        "id": path,
        "name": layer.name,
        "type": type_name(layer),
        "family": family_of(layer),
        "parent": parent,
        "shapes": [list(shape) for shape in shapes],
        "parameters": sum(tensor.numel() for _, tensor in named_weights(layer)),
        "trainable": bool(layer.trainable),
        "config": _config(layer),
        "views": views_of(layer, shapes),
    }


def _shape_text(shapes: list[list[int | None]]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shapes[0][1:]) if shapes else ""


def _config(layer: Layer) -> dict[str, Any]:
    """The arguments of a layer's constructor that say something, in a form to be read."""
    if hasattr(layer, "get_layer"):
        return {}
    try:
        config = layer.get_config()
    except Exception:  # a user's class, or one made by a function, may have none
        return {}
    return {str(name): _short(value) for name, value in config.items() if name != "name" and value is not None}


def _short(value: Any) -> Any:
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, list | tuple):
        shown = [_short(item) for item in value[:_LONGEST_LIST]]
        return [*shown, "…"] if len(value) > _LONGEST_LIST else shown
    if isinstance(value, dict):
        if "class_name" in value:  # an object such as an initializer
            return str(value["class_name"])
        return {str(name): _short(item) for name, item in list(value.items())[:_LONGEST_LIST]}
    text = value if isinstance(value, str) else getattr(value, "name", None) or type(value).__name__
    text = str(text)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
