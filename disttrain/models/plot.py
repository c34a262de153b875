"""`plot_model`: a picture of the layers and of what flows between them, drawn without graphviz."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten
from disttrain.models.drawing import CHARACTER, LINE, Box, Drawing
from disttrain.models.functional import Ref
from disttrain.models.layered_layout import place
from disttrain.models.summary import output_shapes, type_name

if TYPE_CHECKING:
    from disttrain.models.model import Model

_DIRECTIONS = ("TB", "BT", "LR", "RL")
_MARGIN, _PADDING = 12.0, 10.0  # px around the picture, and inside the frame of a nested model


@dataclass(frozen=True)
class _Wishes:
    shapes: bool
    dtype: bool
    names: bool
    nested: bool
    activations: bool
    trainable: bool
    sideways: bool


def plot_model(
    model: Model,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Drawing:
    """Draw a model, and write the picture to a file; the same model gives the same bytes.

    Args:
        to_file: a path or any fsspec URL ending in `.svg` or `.png`; None to draw only.
        show_shapes, show_dtype: of the outputs of each layer.
        show_layer_names: beside the classes.
        rankdir: where data flow: "TB" down, "BT" up, "LR" to the right, "RL" to the left.
        expand_nested: draw what is inside models that stand in this one.
        dpi: of a PNG.
        show_layer_activations: the name of each layer's activation.
        show_trainable: whether training changes a layer.

    Returns:
        The drawing, which shows itself in a notebook; `.svg()` is its text.

    Raises:
        ValueError: another ending or direction, or a model that is not built.
    """
    if rankdir not in _DIRECTIONS:
        raise ValueError(f"plot_model(rankdir={rankdir!r}): expected one of {', '.join(_DIRECTIONS)}.")
    if not hasattr(model, "get_layer"):
        raise ValueError(f"plot_model({model!r}): expected a model.")
    if not model.built:
        raise ValueError(f"plot_model: {model._described()} is not built yet. Call it on data, or build(input_shape).")
    name = None if to_file is None else os.fspath(to_file)
    if name is not None and not name.endswith((".svg", ".png")):
        raise ValueError(f"plot_model(to_file={name!r}): expected a path ending in .svg or .png.")
    wishes = _Wishes(
        show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable, rankdir in ("LR", "RL")
    )
    width, height, boxes, arrows = _drawn(model, wishes)
    drawing = Drawing(width + 2 * _MARGIN, height + 2 * _MARGIN)
    for box in boxes:
        drawing.boxes.append(_moved(box, _MARGIN, _MARGIN))
    drawing.arrows = [[(x + _MARGIN, y + _MARGIN) for x, y in points] for points in arrows]
    drawing = _turned(drawing, rankdir)
    if name is not None:
        from disttrain.models.saving.files import write_bytes  # late: with all that reads and writes files

        write_bytes(to_file, drawing.svg().encode() if name.endswith(".svg") else drawing.png(dpi))
    return drawing


def _drawn(model: Any, wishes: _Wishes) -> tuple[float, float, list[Box], list[list[tuple[float, float]]]]:
    """(width, height, boxes, arrows) of a model, flowing downwards; sideways pictures are turned afterwards."""
    layers, edges = _graph(model)
    insides: list[Any] = []
    sizes: list[tuple[float, float]] = []
    for layer in layers:
        if wishes.nested and hasattr(layer, "get_layer") and layer.built and layer.layers:
            inner = _drawn(layer, wishes)
            title = (f"{layer.name} ({type_name(layer)})",)
            width, height = inner[0] + 2 * _PADDING, inner[1] + 2 * _PADDING
            across, along = (LINE, 0.0) if wishes.sideways else (0.0, LINE)
            size = max(width + across, 0.0 if wishes.sideways else len(title[0]) * CHARACTER), height + along
            insides.append((inner, title))
        else:
            lines = _lines(model, layer, wishes)
            size = max(len(line) for line in lines) * CHARACTER + 2 * _PADDING, LINE * len(lines)
            size = (size[1], size[0]) if wishes.sideways else size  # it is turned back with the picture
            insides.append(lines)
        sizes.append(size)
    placed = place(sizes, edges)
    boxes: list[Box] = []
    arrows = list(placed.edges)
    for (width, height), (x, y), inside in zip(sizes, placed.centres, insides, strict=True):
        left, top = x - width / 2, y - height / 2
        if isinstance(inside[0], str):
            boxes.append(Box(left, top, width, height, inside))
            continue
        (inner_width, _, inner_boxes, inner_arrows), title = inside
        boxes.append(Box(left, top, width, height, title, titled=False, dashed=True))
        shift_x = left + (LINE + _PADDING if wishes.sideways else (width - inner_width) / 2)
        shift_y = top + (_PADDING if wishes.sideways else LINE + _PADDING)
        boxes += [_moved(box, shift_x, shift_y) for box in inner_boxes]
        arrows += [[(px + shift_x, py + shift_y) for px, py in points] for points in inner_arrows]
    return placed.width, placed.height, boxes, arrows


def _graph(model: Any) -> tuple[list[Layer], list[tuple[int, int]]]:
    """The layers of a model, and which feeds which; of a model that is code, the layers alone."""
    graph = model._graph
    if graph is not None:
        edges: dict[tuple[int, int], None] = {}
        for call in graph.calls:
            for leaf in flatten([list(call.args), call.kwargs]):
                if isinstance(leaf, Ref) and graph.slots[leaf.slot].layer != call.layer:
                    edges[graph.slots[leaf.slot].layer, call.layer] = None
        return list(graph.layers), [edge for edge in edges if (edge[1], edge[0]) not in edges or edge[0] < edge[1]]
    layers = list(model.layers)
    if not hasattr(model, "_chain"):
        return layers, []
    start = getattr(model, "_input_layer", None)
    layers = layers if start is None else [start, *layers]
    return layers, [(number, number + 1) for number in range(len(layers) - 1)]


def _lines(model: Any, layer: Layer, wishes: _Wishes) -> tuple[str, ...]:
    kind = type_name(layer)
    lines = [f"{layer.name} ({kind})" if wishes.names else kind]
    activation = getattr(layer, "activation", None)
    if wishes.activations and activation is not None:
        lines.append(f"activation: {getattr(activation, '__name__', type(activation).__name__)}")
    shapes = output_shapes(model, layer)
    if wishes.shapes:
        lines.append(f"output shape: {'?' if shapes is None else ', '.join(map(str, shapes))}")
    if wishes.dtype:
        lines.append(f"output dtype: {layer.dtype if isinstance(layer, InputLayer) else layer.compute_dtype}")
    if wishes.trainable and layer.weights:
        lines.append("trainable" if layer.trainable else "frozen")
    return tuple(lines)


def _moved(box: Box, x: float, y: float) -> Box:
    return Box(box.x + x, box.y + y, box.width, box.height, box.lines, box.titled, box.dashed)


def _turned(drawing: Drawing, rankdir: str) -> Drawing:
    """The drawing, which flows downwards, flowing in another direction."""
    if rankdir == "TB":
        return drawing
    sideways = rankdir in ("LR", "RL")
    width, height = (drawing.height, drawing.width) if sideways else (drawing.width, drawing.height)

    def point(x: float, y: float) -> tuple[float, float]:
        x, y = (y, x) if sideways else (x, y)
        return (width - x if rankdir == "RL" else x, height - y if rankdir == "BT" else y)

    def box(old: Box) -> Box:
        one, two = point(old.x, old.y), point(old.x + old.width, old.y + old.height)
        x, y = min(one[0], two[0]), min(one[1], two[1])
        return Box(x, y, abs(two[0] - one[0]), abs(two[1] - one[1]), old.lines, old.titled, old.dashed)

    arrows = [[point(*place) for place in points] for points in drawing.arrows]
    return Drawing(width, height, [box(old) for old in drawing.boxes], arrows)
