"""The same numbers in another shape, order or dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.bounds import kept_in
from disttrain.host_numbers import on_device
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, axes_of, operation
from disttrain.layers.symbolic import Shape


def _reshaped(shape: Shape, newshape: Any) -> Shape:
    wanted = (newshape,) if isinstance(newshape, int) else tuple(newshape)
    if -1 not in wanted or None in shape:
        return tuple(None if size in (-1, None) else size for size in wanted)
    known, whole = math.prod(size for size in wanted if size != -1), math.prod(size for size in shape if size is not None)
    if known == 0 or whole % known:
        raise ValueError(f"reshape: a tensor of shape {shape} cannot have shape {wanted}.")
    return tuple(whole // known if size == -1 else size for size in wanted)


@operation("Reshape", infer=_reshaped)
def reshape(x: Any, newshape: Any) -> Tensor:
    """The numbers in shape `newshape`, batch included, where one size may be -1: whatever is left."""
    wanted = (newshape,) if isinstance(newshape, int) else tuple(-1 if size is None else size for size in newshape)
    return torch.reshape(as_tensor(x), wanted)


@operation("Ravel")
def ravel(x: Any) -> Tensor:
    """All numbers in one axis."""
    return torch.flatten(as_tensor(x))


@operation("Transpose")
def transpose(x: Any, axes: Any = None) -> Tensor:
    """The axes in the order `axes`; reversed where it is None."""
    x = as_tensor(x)
    return torch.permute(x, tuple(axes) if axes is not None else tuple(reversed(range(x.ndim))))


@operation("Swapaxes")
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    return torch.swapaxes(as_tensor(x), axis1, axis2)


@operation("Moveaxis")
def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places; the rest stays in order."""
    return torch.moveaxis(as_tensor(x), axes_of(source), axes_of(destination))


@operation("ExpandDims")
def expand_dims(x: Any, axis: Any) -> Tensor:
    """A new axis of size 1 at each of `axis`, places of the result."""
    x = as_tensor(x)
    places = [axis] if isinstance(axis, int) else list(axis)
    rank = x.ndim + len(places)
    for place in sorted(place % rank for place in places):
        x = torch.unsqueeze(x, place)
    return x  # type: ignore[no-any-return]


@operation("Squeeze")
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the axes of size 1, or those of `axis`, which must be of size 1."""
    x = as_tensor(x)
    if axis is None:
        return torch.squeeze(x)
    for one in (axis,) if isinstance(axis, int) else axis:
        if x.shape[one] != 1:
            raise ValueError(f"squeeze(axis={axis}): axis {one} has size {x.shape[one]}, expected 1.")
    return torch.squeeze(x, axes_of(axis))


@operation("BroadcastTo")
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeated to `shape`, without a copy."""
    return torch.broadcast_to(as_tensor(x), (shape,) if isinstance(shape, int) else tuple(shape))


@operation("Tile")
def tile(x: Any, repeats: Any) -> Tensor:
    """The whole tensor side by side, `repeats` times along each axis."""
    return torch.tile(as_tensor(x), (repeats,) if isinstance(repeats, int) else tuple(repeats))


@operation("Repeat")
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each item `repeats` times in a row along `axis`; of the flat tensor where it is None."""
    x = as_tensor(x)
    if isinstance(repeats, int):
        return torch.repeat_interleave(x, repeats, dim=axis)
    return torch.repeat_interleave(x, as_tensor(repeats, x).long(), dim=axis)


@operation("Flip")
def flip(x: Any, axis: Any = None) -> Tensor:
    """In reverse order along `axis`, along all where it is None."""
    x = as_tensor(x)
    return torch.flip(x, tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis))


@operation("Roll")
def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """Moved on by `shift`; what leaves at the end comes in at the start."""
    return torch.roll(as_tensor(x), axes_of(shift), axes_of(axis))


@operation("Pad", tensors=("x", "constant_values"))
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Tensor:
    """With `pad_width` = ((before, after), ...) more items along each axis: a constant, 0 unless told, or the nearest by `mode`."""
    x = as_tensor(x)
    if mode not in ("constant", "reflect", "symmetric"):
        raise ValueError(f"pad(mode={mode!r}): expected 'constant', 'reflect' or 'symmetric'.")
    if constant_values is not None and mode != "constant":
        raise ValueError(f"pad(mode={mode!r}, constant_values={constant_values!r}): only mode='constant' has a constant.")
    widths = [(pad_width, pad_width)] * x.ndim if isinstance(pad_width, int) else [tuple(width) for width in pad_width]
    if len(widths) == 1:
        widths *= x.ndim
    if mode == "constant":
        flat = [width for pair in reversed(widths) for width in pair]
        return torch.nn.functional.pad(x, flat, value=0 if constant_values is None else constant_values)
    for axis, (before, after) in enumerate(widths):
        edge = 1 if mode == "reflect" else 0
        size = x.shape[axis]
        places = [*range(before - 1 + edge, edge - 1, -1), *range(size), *range(size - 1 - edge, size - 1 - edge - after, -1)]
        x = torch.index_select(x, axis, on_device(places, x.device))
    return x  # type: ignore[no-any-return]


@operation("Concatenate")
def concatenate(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors one after the other along an axis that they have."""
    return torch.cat([as_tensor(x) for x in xs], dim=axis)


@operation("Stack")
def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors one after the other along a new axis."""
    return torch.stack([as_tensor(one) for one in x], dim=axis)


@operation("Split")
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along `axis`: so many equal ones, or cut before each of the given indices."""
    x = as_tensor(x)
    if isinstance(indices_or_sections, int):
        if x.shape[axis] % indices_or_sections:
            raise ValueError(f"split(indices_or_sections={indices_or_sections}): axis {axis} has size {x.shape[axis]}.")
        return list(torch.split(x, x.shape[axis] // indices_or_sections, dim=axis))
    return list(torch.tensor_split(x, tuple(indices_or_sections), dim=axis))


@operation("Unstack", module="core")
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """Each item along `axis` by itself."""
    return list(torch.unbind(as_tensor(x), dim=axis))


@operation("GetItem", tensors=2)
def get_item(x: Any, key: Any) -> Tensor:
    """`x[key]`."""
    return as_tensor(x)[tuple(key) if isinstance(key, list) else key]  # a file keeps a tuple as a list


@operation("Take", tensors=2)
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The items at `indices` along `axis`; of the flat tensor where it is None. A negative index counts from the end."""
    x = as_tensor(x)
    indices = as_tensor(indices, x).long()
    x, axis = (x.flatten(), 0) if axis is None else (x, axis % x.ndim)
    indices = kept_in(torch.where(indices < 0, indices + x.shape[axis], indices), x.shape[axis], "take: indices")
    return torch.index_select(x, axis, indices.flatten()).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operation("TakeAlongAxis", tensors=2)
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Along `axis` the items at `indices`, which have the rank of `x`."""
    x = as_tensor(x)
    indices = as_tensor(indices, x).long()
    if axis is None:
        return torch.take_along_dim(x.flatten(), kept_in(indices.flatten(), x.numel(), "take_along_axis: indices"))
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    return torch.take_along_dim(x, kept_in(indices, x.shape[axis], "take_along_axis: indices"), dim=axis)


@operation("Cast", module="core")
def cast(x: Any, dtype: Any) -> Tensor:
    """In another dtype."""
    return as_tensor(x).to(DTYPES[standard_dtype(dtype)])


@operation("ZerosLike")
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros of the same shape."""
    return torch.zeros_like(as_tensor(x), dtype=None if dtype is None else DTYPES[standard_dtype(dtype)])


@operation("OnesLike")
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones of the same shape."""
    return torch.ones_like(as_tensor(x), dtype=None if dtype is None else DTYPES[standard_dtype(dtype)])


@operation("Tril")
def tril(x: Any, k: int = 0) -> Tensor:
    """Zero above diagonal `k`."""
    return torch.tril(as_tensor(x), k)


@operation("Triu")
def triu(x: Any, k: int = 0) -> Tensor:
    """Zero below diagonal `k`."""
    return torch.triu(as_tensor(x), k)


@operation("Sort")
def sort(x: Any, axis: int | None = -1) -> Tensor:
    """In rising order along `axis`."""
    x = as_tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    return torch.sort(x, dim=axis).values


@operation("Argsort")
def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The indices that sort along `axis`, int32; equal ones keep their order."""
    x = as_tensor(x)
    x, axis = (x.flatten(), -1) if axis is None else (x, axis)
    return torch.argsort(x.to(torch.uint8) if x.dtype is torch.bool else x, dim=axis, stable=True).int()


@operation("TopK", module="math")
def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """(the `k` largest along the last axis, where they are)."""
    found = torch.topk(as_tensor(x), k, sorted=sorted)
    return found.values, found.indices.int()


__all__ = [
    "argsort",
    "broadcast_to",
    "cast",
    "concatenate",
    "expand_dims",
    "flip",
    "get_item",
    "moveaxis",
    "ones_like",
    "pad",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "sort",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "take_along_axis",
    "tile",
    "top_k",
    "transpose",
    "tril",
    "triu",
    "unstack",
    "zeros_like",
]
