"""Parts of tensors put together, taken out and put in; diagonals."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, both, operation, with_values

# -- together, and apart ------------------------------------------------------------------------------------------------------------------


@operation("Append", tensors=2)
def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """`x2` after `x1` along `axis`; both flat where it is None."""
    x1, x2 = both(x1, x2)
    return torch.cat([x1.flatten(), x2.flatten()]) if axis is None else torch.cat([x1, x2], dim=axis)


@operation("Hstack")
def hstack(xs: Sequence[Any]) -> Tensor:
    """Tensors side by side: along the second axis, or the only one."""
    return torch.hstack([as_tensor(x) for x in xs])


@operation("Vstack")
def vstack(xs: Sequence[Any]) -> Tensor:
    """Tensors one below the other: along the first of at least two axes."""
    return torch.vstack([as_tensor(x) for x in xs])


@operation("Dstack")
def dstack(xs: Sequence[Any]) -> Tensor:
    """Tensors one behind the other: along the third of at least three axes."""
    return torch.dstack([as_tensor(x) for x in xs])


@operation("ArraySplit")
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along `axis`: so many, the first ones longer where they do not fit, or cut before each of the given indices."""
    places = indices_or_sections if isinstance(indices_or_sections, int) else tuple(indices_or_sections)
    return list(torch.tensor_split(as_tensor(x), places, dim=axis))


@operation("Hsplit")
def hsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Parts along the second axis, or the only one."""
    return list(torch.hsplit(as_tensor(x), _places(indices_or_sections)))


@operation("Vsplit")
def vsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Parts along the first axis."""
    return list(torch.vsplit(as_tensor(x), _places(indices_or_sections)))


@operation("Dsplit")
def dsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Parts along the third axis."""
    return list(torch.dsplit(as_tensor(x), _places(indices_or_sections)))


def meshgrid(*x: Any, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of a grid: for each of the axes a tensor of the grid's shape. "xy" has columns first, "ij" rows."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid(indexing={indexing!r}): expected 'xy' or 'ij'.")
    with_values("meshgrid", x)
    return list(torch.meshgrid([as_tensor(one) for one in x], indexing=indexing))


# -- turned -------------------------------------------------------------------------------------------------------------------------------


@operation("Fliplr")
def fliplr(x: Any) -> Tensor:
    """Columns in reverse order."""
    return torch.fliplr(as_tensor(x))


@operation("Flipud")
def flipud(x: Any) -> Tensor:
    """Rows in reverse order."""
    return torch.flipud(as_tensor(x))


@operation("Rot90")
def rot90(array: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Turned `k` times by 90 degrees in the plane of `axes`, from the first to the second."""
    array = as_tensor(array)
    if array.ndim < 2:
        raise ValueError(f"rot90: got shape {tuple(array.shape)}, expected two axes or more.")
    if len(axes) != 2 or axes[0] % array.ndim == axes[1] % array.ndim:
        raise ValueError(f"rot90(axes={axes}): expected two different axes.")
    return torch.rot90(array, k, tuple(axes))


# -- taken out, and put in ----------------------------------------------------------------------------------------------------------------


@operation("Slice", module="core", tensors=2)
def slice(inputs: Any, start_indices: Any, shape: Any) -> Tensor:
    """The part of `shape` that begins at `start_indices`."""
    inputs = as_tensor(inputs)
    starts, sizes = _whole(start_indices), _whole(shape)
    if not len(starts) == len(sizes) == inputs.ndim:
        raise ValueError(f"slice: start_indices {starts} and shape {sizes}, expected {inputs.ndim} numbers in each, one for an axis.")
    return inputs[tuple(builtins.slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]  # type: ignore[no-any-return]


@operation("SliceUpdate", module="core", tensors=3)
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """A copy of `inputs` with `updates` at `start_indices`."""
    inputs = as_tensor(inputs)
    updates, starts = as_tensor(updates, inputs), _whole(start_indices)
    found = inputs.clone()
    found[tuple(builtins.slice(start, start + size) for start, size in zip(starts, updates.shape, strict=True))] = updates.to(inputs.dtype)
    return found  # type: ignore[no-any-return]


@operation("Scatter", module="core", tensors=2)
def scatter(indices: Any, values: Any, shape: Any) -> Tensor:
    """Zeros of `shape` with each of `values` added at its row of `indices`."""
    indices = as_tensor(indices).long()
    values, sizes = as_tensor(values, indices), tuple(_whole(shape))
    depth = indices.shape[-1]
    places = indices.reshape(-1, depth).unbind(1)
    found = torch.zeros(sizes, dtype=values.dtype, device=values.device)
    return found.index_put(places, values.reshape(-1, *sizes[depth:]), accumulate=True)


@operation("ScatterUpdate", module="core", tensors=3)
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Tensor:
    """A copy of `inputs` with `updates` at the rows of `indices`: in place of what is there, or combined with it.

    Args:
        reduction: None, "add", "max", "min" or "mul".
    """
    inputs = as_tensor(inputs)
    indices, updates = as_tensor(indices, inputs).long(), as_tensor(updates, inputs).to(inputs.dtype)
    places = tuple(indices.unbind(1))
    if reduction in (None, "add"):
        return inputs.index_put(places, updates, accumulate=reduction == "add")  # type: ignore[no-any-return]
    combine = {"max": torch.maximum, "min": torch.minimum, "mul": torch.mul}.get(reduction or "")
    if combine is None:
        raise ValueError(f"scatter_update(reduction={reduction!r}): expected None, 'add', 'max', 'min' or 'mul'.")
    found = inputs.clone()
    for number, place in enumerate(indices.unbind(0)):
        row = tuple(place)
        found = found.index_put(row, combine(found[row], updates[number]))
    return found  # type: ignore[no-any-return]


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Tensor:
    """For each place the choice whose condition is the first to hold there, else `default`."""
    with_values("select", [*condlist, *choicelist, default])
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(f"select: got {len(condlist)} conditions and {len(choicelist)} choices, expected as many of each, at least one.")
    choices = [as_tensor(choice) for choice in choicelist]
    found = as_tensor(default, choices[0])
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        found = torch.where(as_tensor(condition).bool(), choice, found)
    return found


# -- diagonals ----------------------------------------------------------------------------------------------------------------------------


@operation("Diag")
def diag(x: Any, k: int = 0) -> Tensor:
    """Of a vector a matrix with it in diagonal `k`; of a matrix that diagonal."""
    return torch.diag(as_tensor(x), k)


@operation("Diagflat")
def diagflat(x: Any, k: int = 0) -> Tensor:
    """A matrix with all numbers of `x` in diagonal `k`."""
    return torch.diagflat(as_tensor(x), k)


@operation("Diagonal")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal of the matrices in two axes, as the last axis."""
    return torch.diagonal(as_tensor(x), offset, axis1, axis2)


@operation("Trace")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of a diagonal of the matrices in two axes."""
    x = as_tensor(x)
    total = torch.diagonal(x, offset, axis1, axis2).sum(-1)
    return total.to(torch.int32 if x.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16) else x.dtype)


# -- of the same shape, and others --------------------------------------------------------------------------------------------------------


@operation("EmptyLike")
def empty_like(x: Any, dtype: Any = None) -> Tensor:
    """A tensor of the same shape; zeros here, so that no result depends on what memory held."""
    return torch.zeros_like(as_tensor(x), dtype=None if dtype is None else DTYPES[standard_dtype(dtype)])


@operation("FullLike", tensors=2)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One number everywhere, in the same shape."""
    x = as_tensor(x)
    wanted = x.dtype if dtype is None else DTYPES[standard_dtype(dtype)]
    return torch.broadcast_to(as_tensor(fill_value, x).to(wanted), x.shape).clone()


@operation("UnravelIndex")
def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """Places in a flat tensor as places in one of `shape`: indices for each axis."""
    indices = as_tensor(indices)
    kept = indices.dtype if indices.dtype in (torch.int32, torch.int64) else torch.int32
    left, found = indices.long(), []
    total = int(np.prod(shape))
    left = torch.where(left < 0, left + total, left)
    for size in reversed(tuple(shape)):
        found.append((left % size).to(kept))
        left = left // size
    return tuple(reversed(found))


@operation("Size")
def size(x: Any) -> int | Tensor:
    """How many numbers there are."""
    return torch.tensor(as_tensor(x).numel(), dtype=torch.int32)


def _places(value: Any) -> Any:
    return value if isinstance(value, int) else tuple(value)


def _whole(value: Any) -> list[int]:
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    return [int(one) for one in ([value] if isinstance(value, int) else value)]


__all__ = [
    "append",
    "array_split",
    "diag",
    "diagflat",
    "diagonal",
    "dsplit",
    "dstack",
    "empty_like",
    "fliplr",
    "flipud",
    "full_like",
    "hsplit",
    "hstack",
    "meshgrid",
    "rot90",
    "scatter",
    "scatter_update",
    "select",
    "size",
    "slice",
    "slice_update",
    "trace",
    "unravel_index",
    "vsplit",
    "vstack",
]
