"""How many numbers an operation could give: a file must not make a machine allocate more than a model needs.

Most operations give no more numbers than they take. Those that may are told here from shapes alone, before anything is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from disttrain.layers.ops.more_bounds import MORE

Sizes = tuple[int, ...]
MAX_NUMBERS = 1 << 28  # of one operation on stand-ins for the batch, while a file is read: 1 GiB of float32


def check_bounds(kind: str, shapes: Sequence[Sizes], settings: dict[str, Any]) -> None:
    """Refuse an operation whose output would be beyond measure.

    Raises:
        ValueError: it would.
    """
    bound = _BOUNDS.get(kind, _all_together)(shapes, settings)
    if bound > MAX_NUMBERS:
        raise ValueError(f"{kind} of tensors of shapes {list(shapes)} would give up to {bound:,} numbers, which no model of a file needs.")


def _all_together(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    """Broadcast against each other, or side by side."""
    return max(_broadcast(shapes), sum(math.prod(shape) for shape in shapes))


def _broadcast(shapes: Sequence[Sizes]) -> int:
    try:
        together: Sizes = tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:  # they do not fit, which the operation will say
        return 0
    return math.prod(together)


def _products(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return math.prod(math.prod(shape) for shape in shapes)


def _matmul(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    one, two = shapes[0], shapes[-1]
    if len(one) < 2 or len(two) < 2 or one[-1] != two[-2]:
        return max(math.prod(one), math.prod(two))
    return _broadcast([one[:-2], two[:-2]]) * one[-2] * two[-1]


def _dot(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    shared = shapes[0][-1] if shapes[0] else 1
    return _products(shapes, settings) // max(1, shared * shared)


def _tensordot(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    axes = settings.get("axes", 2)
    one = shapes[0]
    if isinstance(axes, int):
        summed = math.prod(one[len(one) - axes :]) if axes else 1
    else:
        first = axes[0] if isinstance(axes, list | tuple) else axes
        summed = math.prod(one[axis] for axis in ([first] if isinstance(first, int) else first))
    return _products(shapes, settings) // max(1, summed * summed)


def _einsum(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    inputs, arrow, output = str(settings.get("subscripts", "")).replace(" ", "").partition("->")
    if "." in inputs or not arrow:
        return _products(shapes, settings)
    sizes = {
        label: size for labels, shape in zip(inputs.split(","), shapes, strict=False) for label, size in zip(labels, shape, strict=False)
    }
    return math.prod(sizes.get(label, 1) for label in output)


def _tile(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return math.prod(shapes[0]) * _product_of(settings.get("repeats", 1))


def _repeat(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    repeats = settings.get("repeats", 1)
    return math.prod(shapes[0]) * (repeats if isinstance(repeats, int) else max([1, *repeats]))


def _pad(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    width = settings.get("pad_width", 0)
    pairs = [(width, width)] * len(shapes[0]) if isinstance(width, int) else list(width)
    pairs = pairs * len(shapes[0]) if len(pairs) == 1 else pairs
    return math.prod(size + sum(pair) for size, pair in zip(shapes[0], pairs, strict=False))


def _one_hot(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return math.prod(shapes[0]) * int(settings.get("num_classes", 1))


def _broadcast_to(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return _product_of(settings.get("shape", 1))


def _take(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return _products(shapes, settings) // max(1, shapes[0][settings["axis"]] if settings.get("axis") is not None else 1)


def _product_of(sizes: Any) -> int:
    return int(sizes) if isinstance(sizes, int) else math.prod(int(size) for size in sizes)


_BOUNDS: dict[str, Callable[[Sequence[Sizes], dict[str, Any]], int]] = {
    "BroadcastTo": _broadcast_to,
    "Dot": _dot,
    "Einsum": _einsum,
    "Matmul": _matmul,
    "OneHot": _one_hot,
    "Outer": _products,
    "Pad": _pad,
    "Repeat": _repeat,
    "Take": _take,
    "Tensordot": _tensordot,
    "Tile": _tile,
    **MORE,
}
