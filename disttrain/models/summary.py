"""The table that `model.summary()` prints."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, is_shape
from disttrain.layers.tracking import named_weights

if TYPE_CHECKING:
    from disttrain.models.model import Model


def summary(
    model: Model, line_length: int | None, print_fn: Callable[[str], Any] | None, expand_nested: bool, show_trainable: bool
) -> None:  # fmt: skip
    """Print the layers of `model` with output shapes and numbers of weights, then the totals."""
    graph = model._graph
    connected = graph is not None and any(len(flatten([list(call.args), call.kwargs])) > 1 for call in graph.calls)
    table = Table(width=line_length, show_header=True)
    for title, justify in (("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    if connected:
        table.add_column("Connected to", overflow="fold")
    if show_trainable:
        table.add_column("Trainable", justify="center")
    for layer, depth in _rows(model, expand_nested, 0):
        cells = [
            f"{'  ' * depth}{layer.name} ({_type_name(layer)})",
            _output_shape(model, layer),
            f"{_count(layer):,}" if layer.built or _count(layer) else "0 (unbuilt)",
        ]
        if connected:
            cells.append(", ".join(_sources(model, layer)) if depth == 0 else "")
        if show_trainable:
            cells.append("Y" if layer.trainable else "N")
        table.add_row(*(escape(cell) for cell in cells))
    text = io.StringIO()
    console = Console(file=text, width=line_length or 100, force_terminal=False, color_system=None)
    console.print(f'Model: "{escape(model.name)}"', highlight=False)
    console.print(table)
    for line in _totals(model):
        console.print(line, highlight=False)
    (print_fn or print)(text.getvalue().rstrip("\n"))


def _rows(model: Model, expand_nested: bool, depth: int) -> Iterator[tuple[Layer, int]]:
    for layer in model.layers:
        yield layer, depth
        if expand_nested and hasattr(layer, "get_layer"):
            yield from _rows(layer, expand_nested, depth + 1)  # type: ignore[arg-type]


def _type_name(layer: Layer) -> str:
    return (
        "Functional"
        if getattr(layer, "_graph", None) is not None and type(layer).__name__ == "Model"
        else getattr(layer, "kind", type(layer).__name__)
    )


def _output_shape(model: Model, layer: Layer) -> str:
    if isinstance(layer, InputLayer):
        return str(layer.batch_shape)
    if model._graph is not None:
        place = next((number for number, own in enumerate(model._graph.layers) if own is layer), None)
        shapes = [slot.shape for slot in model._graph.slots if slot.layer == place and slot.call == 0]
        if shapes:
            return str(shapes[0]) if len(shapes) == 1 else ", ".join(map(str, shapes))
    if not layer.built or layer._build_shapes is None:
        return "?"
    try:
        shape = layer.compute_output_shape(next(iter(layer._build_shapes.values())))
    except Exception:  # a layer defined by code may know its shape only from data
        return "?"
    return str(tuple(shape)) if is_shape(shape) else ", ".join(str(part) for part in flatten([str(part) for part in shape]))


def _sources(model: Model, layer: Layer) -> list[str]:
    graph = model._graph
    assert graph is not None
    place = next((number for number, own in enumerate(graph.layers) if own is layer), None)
    refs = [ref for call in graph.calls if call.layer == place for ref in flatten([list(call.args), call.kwargs]) if hasattr(ref, "slot")]
    slots = [graph.slots[ref.slot] for ref in refs]
    return [f"{graph.layers[slot.layer].name}[{slot.call}][{slot.index}]" for slot in slots]


def _count(layer: Layer) -> int:
    return sum(tensor.numel() for _, tensor in named_weights(layer))


def _totals(model: Model) -> list[str]:
    weights = model.weights
    trainable = sum(tensor.numel() for tensor in weights if tensor.requires_grad)
    total = sum(tensor.numel() for tensor in weights)
    lines = [
        f" Total params: {total:,} ({_size(sum(t.numel() * t.element_size() for t in weights))})",
        f" Trainable params: {trainable:,} ({_size(sum(t.numel() * t.element_size() for t in weights if t.requires_grad))})",
        f" Non-trainable params: {total - trainable:,} "
        f"({_size(sum(t.numel() * t.element_size() for t in weights if not t.requires_grad))})",
    ]
    slots = [tensor for tensors in (getattr(model.optimizer, "slots", None) or {}).values() for tensor in tensors]
    if slots:
        lines.append(f" Optimizer params: {sum(t.numel() for t in slots):,} ({_size(sum(t.numel() * t.element_size() for t in slots))})")
    return lines


def _size(count_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count_bytes < 1024:
            return f"{count_bytes:.2f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.2f} TB"
