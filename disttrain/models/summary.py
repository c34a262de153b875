"""The table that `model.summary()` prints."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, is_shape
from disttrain.layers.tracking import named_weights
from disttrain.models.functional import Graph, Ref
from disttrain.models.network import Network

_WIDTH, _WIDTH_CONNECTED, _WIDTH_OF_TRAINABLE = 88, 108, 12  # characters, Keras's


def summary(
    model: Network,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print the layers of `model` with output shapes and numbers of weights, then the totals.

    Args:
        line_length: of the table, in characters.
        positions: where each column ends, as fractions of the line.
        print_fn: is given the whole text, once.
        expand_nested: show the layers inside layers that have some.
        show_trainable: say of each layer with weights whether training changes them.
        layer_range: names, or regular expressions for them, of the first and the last layer to be shown.

    Raises:
        ValueError: a line too short for its columns, or a `layer_range` that matches nothing.
    """
    from rich.console import Console  # late: only a table needs it
    from rich.table import Table

    graph = model._graph
    connected = graph is not None and not _is_chain(graph)
    columns = [("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")]
    ends = list(positions or ((0.3, 0.56, 0.74, 1.0) if connected else (0.45, 0.80, 1.0)))
    width = _WIDTH_CONNECTED if connected else _WIDTH
    if connected:
        columns.append(("Connected to", "left"))
    if show_trainable:
        columns.append(("Trainable", "center"))
        width, ends = width + _WIDTH_OF_TRAINABLE, [*(0.9 * end for end in ends), 1.0]
    width = line_length or min(width, max(40, shutil.get_terminal_size().columns - 4))
    table = Table(width=width, show_lines=True)
    for (title, justify), column_width in zip(columns, _widths(ends, width, len(columns)), strict=True):
        table.add_column(title, justify=justify, width=column_width, overflow="fold")  # type: ignore[arg-type]
    first, last = _bounds([layer.name for layer in model.operations], layer_range)
    for layer in model.operations[first : last + 1]:
        for inner, depth in _with_nested(layer, expand_nested):
            cells = [
                f"{'   ' * depth}{'└ ' if depth else ''}{inner.name} ({type_name(inner)})",
                _output_shape(model, inner),
                f"{_count(inner):,}" if inner.built or _count(inner) else "0 (unbuilt)",
            ]
            if connected:
                cells.append(", ".join(_sources(graph, inner)) or "-" if graph is not None else "-")
            if show_trainable:
                cells.append("-" if not _count(inner) else "Y" if inner.trainable else "N")
            table.add_row(*cells)
    text = io.StringIO()
    console = Console(file=text, width=max(width, 100), force_terminal=False, color_system=None, markup=False, emoji=False)
    console.print(f'Model: "{model.name}"', highlight=False)
    console.print(table)
    for line in _totals(model):
        console.print(line, highlight=False)
    (print_fn or print)(text.getvalue().rstrip("\n"))


def type_name(layer: Layer) -> str:
    """What Keras calls the class of a layer."""
    if getattr(layer, "_graph", None) is not None and type(layer).__name__ == "Model":
        return "Functional"
    return str(getattr(layer, "kind", type(layer).__name__))


def output_shapes(model: Network, layer: Layer) -> list[tuple[int | None, ...]] | None:
    """The shapes that a layer of `model` gives at its first call there; None where they are not known."""
    if isinstance(layer, InputLayer):
        return [layer.batch_shape]
    if model._graph is not None:
        place = next((number for number, own in enumerate(model._graph.layers) if own is layer), None)
        shapes = [slot.shape for slot in model._graph.slots if slot.layer == place and slot.call == 0]
        if shapes:
            return shapes
    symbolic = getattr(layer, "_nodes", None)
    if symbolic:
        return [tensor.shape for tensor in flatten(symbolic[0].outputs)]
    if not layer.built or not layer._build_shapes:
        return None
    try:
        shape = layer.compute_output_shape(next(iter(layer._build_shapes.values())))
    except Exception:  # a layer defined by code may know its shape only from data
        return None
    return [tuple(shape)] if is_shape(shape) else [tuple(part) for part in shape if is_shape(part)]


def _is_chain(graph: Graph) -> bool:
    """Has each call one tensor, which no other call takes, and each layer one call?"""
    used = [leaf.slot for call in graph.calls for leaf in flatten([list(call.args), call.kwargs]) if isinstance(leaf, Ref)]
    one_each = all(sum(isinstance(leaf, Ref) for leaf in flatten([list(call.args), call.kwargs])) == 1 for call in graph.calls)
    return one_each and len(set(used)) == len(used) and len({call.layer for call in graph.calls}) == len(graph.calls)


def _widths(ends: list[float], width: int, columns: int) -> list[int]:
    if len(ends) != columns:
        raise ValueError(f"summary(positions={ends}): expected {columns} numbers, where each column ends.")
    found, current = [], 0
    for end in ends:
        found.append(int(end * width) - current)
        current += found[-1]
        if found[-1] < 4:
            raise ValueError(f"summary(line_length={width}): too short for {columns} columns.\n  try  line_length={_WIDTH}")
    return found


def _bounds(names: list[str], layer_range: Sequence[str] | None) -> tuple[int, int]:
    if layer_range is None:
        return 0, len(names) - 1
    if len(layer_range) != 2 or not all(isinstance(item, str) for item in layer_range):
        raise ValueError(f"summary(layer_range={layer_range!r}): expected the names of the first and the last layer.")
    first, last = ([place for place, name in enumerate(names) if re.match(item, name)] for item in layer_range)
    if not first or not last:
        missing = layer_range[1] if first else layer_range[0]
        raise ValueError(f"summary(layer_range={list(layer_range)}): no layer matches {missing!r}.\n  expected  among {', '.join(names)}")
    if min(first) > max(last):
        return min(last), max(first)
    return min(first), max(last)


def _with_nested(layer: Layer, expand: bool, depth: int = 0) -> Iterator[tuple[Layer, int]]:
    yield layer, depth
    if expand and hasattr(layer, "get_layer"):
        inside: list[Layer] = layer.layers  # type: ignore[assignment]
        for inner in inside:
            yield from _with_nested(inner, expand, depth + 1)


def _output_shape(model: Network, layer: Layer) -> str:
    shapes = output_shapes(model, layer)
    if shapes is None:
        return "?"
    return str(shapes[0]) if len(shapes) == 1 else f"[{', '.join(map(str, shapes))}]"


def _sources(graph: Graph, layer: Layer) -> list[str]:
    place = next((number for number, own in enumerate(graph.layers) if own is layer), None)
    refs = [ref for call in graph.calls if call.layer == place for ref in flatten([list(call.args), call.kwargs]) if isinstance(ref, Ref)]
    slots = [graph.slots[ref.slot] for ref in refs]
    return [f"{graph.layers[slot.layer].name}[{slot.call}][{slot.index}]" for slot in slots]


def _count(layer: Layer) -> int:
    return sum(tensor.numel() for _, tensor in named_weights(layer))


def _totals(model: Network) -> list[str]:
    weights = model.weights
    groups = [
        ("Trainable params", [w for w in weights if w.requires_grad]),
        ("Non-trainable params", [w for w in weights if not w.requires_grad]),
    ]
    kept = _optimizer_sizes(model)
    lines = [f" {title}: {sum(t.numel() for t in tensors):,} ({_size(_bytes(tensors))})" for title, tensors in groups]
    total, total_bytes = sum(t.numel() for t in weights), _bytes(weights)
    if kept is not None:
        lines.append(f" Optimizer params: {kept[0]:,} ({_size(kept[1])})")
        total, total_bytes = total + kept[0], total_bytes + kept[1]
    return [f" Total params: {total:,} ({_size(total_bytes)})", *lines]


def _optimizer_sizes(model: Network) -> tuple[int, int] | None:
    """(numbers, bytes) of what the optimizer keeps; None before it has started."""
    optimizer = model.optimizer
    if optimizer is None or not getattr(optimizer, "built", False):
        return None
    if hasattr(optimizer, "keras_variables"):
        arrays = list(optimizer.keras_variables([w for w in model.weights if w.requires_grad]))
        return sum(int(array.size) for array in arrays), sum(int(array.nbytes) for array in arrays)
    slots = [tensor for tensors in (getattr(optimizer, "slots", None) or {}).values() for tensor in tensors]
    return sum(t.numel() for t in slots) + 2, _bytes(slots) + 8  # the step and the learning rate


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _size(count_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count_bytes < 1024:
            return f"{count_bytes:.2f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.2f} TB"
