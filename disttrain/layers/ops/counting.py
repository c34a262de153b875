"""Counts, places in order, sets, and reductions of segments."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, both, operation, with_values


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Tensor:
    """How often each of 0, 1, 2 ... is there, or the sum of its weights; of a matrix for each row."""
    if sparse:
        raise ValueError("bincount(sparse=True) is not supported: tensors are dense.")
    with_values("bincount", x, weights)
    x = as_tensor(x).long()
    found_dtype = torch.int32
    if weights is not None:
        weights = as_tensor(weights, x)
        found_dtype = weights.dtype if weights.is_floating_point() else torch.int32
    length = builtins.max(int(x.max()) + 1 if x.numel() else 0, minlength)
    rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    counted = torch.ones_like(rows, dtype=found_dtype) if weights is None else weights.reshape(rows.shape).to(found_dtype)
    found = torch.zeros(rows.shape[0], length, dtype=found_dtype, device=x.device).scatter_add_(1, rows, counted)
    return found.reshape(*x.shape[:-1], length)


def histogram(x: Any, bins: Any = 10, range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """(how many numbers each bin holds, the edges of the bins), for bins of equal width over `range`, or over all numbers."""
    with_values("histogram", x)
    x = as_tensor(x)
    x = x if x.is_floating_point() else x.float()
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"histogram(bins={bins!r}): expected a whole number of 1 or more.")
    low, high = (float(x.min()), float(x.max())) if range is None else range
    if low > high:
        raise ValueError(f"histogram(range={range}): expected a lower end below the upper one.")
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = torch.histogram(x.flatten().cpu(), bins, range=(low, high))
    return counts.to(x.dtype).to(x.device), edges.to(x.device)


@operation("Digitize", tensors=2)
def digitize(x: Any, bins: Any) -> Tensor:
    """The number of the bin that each number falls into, int32: `i` where `bins[i - 1] <= x < bins[i]`."""
    x, bins = both(x, bins)
    return torch.bucketize(x.to(torch.uint8) if x.dtype is torch.bool else x, bins, right=True).int()


@operation("SearchSorted", tensors=2)
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Tensor:
    """Where each value would go into `sorted_sequence`, before its equals or after them ("right")."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted(side={side!r}): expected 'left' or 'right'.")
    sequence, values = both(sorted_sequence, values)
    if sequence.ndim != 1:
        raise ValueError(f"searchsorted: sorted_sequence has shape {tuple(sequence.shape)}, expected one axis.")
    return torch.searchsorted(sequence, values, side=side).to(torch.int32 if len(sequence) < 2**31 - 1 else torch.int64)


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """The indices of what is not 0, a tensor for each axis."""
    with_values("nonzero", x)
    return tuple(index.int() for index in torch.nonzero(as_tensor(x), as_tuple=True))


def unique(
    x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    """Each number once, in rising order.

    Args:
        return_index: also where each was first.
        return_inverse: also the place among them of each number of `x`.
        return_counts: also how often each is there.
        axis: of whole slices along that axis instead of numbers.
        size: cut, or filled up with `fill_value`, to so many.
    """
    with_values("unique", x)
    x = as_tensor(x)
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=axis)
    flat = inverse.flatten()
    index = torch.full((len(counts),), len(flat), device=x.device).scatter_reduce_(
        0, flat, torch.arange(len(flat), device=x.device), "amin"
    )
    place = 0 if axis is None else axis
    if size is not None:
        values = _of_size(values, place, size, fill_value if fill_value is not None else 0)
        index, counts = _of_size(index, 0, size, 0), _of_size(counts, 0, size, 0)
    found = [values]
    found += [index] if return_index else []
    found += [inverse] if return_inverse else []
    found += [counts] if return_counts else []
    return found[0] if len(found) == 1 else tuple(found)


def _of_size(tensor: Tensor, axis: int, size: int, fill: Any) -> Tensor:
    kept = tensor.narrow(axis, 0, builtins.min(size, tensor.shape[axis]))
    missing = size - kept.shape[axis]
    if not missing:
        return kept
    sizes = list(kept.shape)
    sizes[axis] = missing
    return torch.cat([kept, torch.full(sizes, fill, dtype=kept.dtype, device=kept.device)], axis)


@operation("IsIn", tensors=2)
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Is each number of `x1` among those of `x2`; with `invert`, is it not?"""
    x1, x2 = both(x1, x2)
    dtype = torch.promote_types(x1.dtype, x2.dtype)
    dtype = torch.int32 if dtype is torch.bool else dtype
    return torch.isin(x1.to(dtype), x2.to(dtype), assume_unique=assume_unique, invert=invert)


@operation("Argpartition")
def argpartition(x: Any, kth: int, axis: int = -1) -> Tensor:
    """Indices that put the number that is `kth` in order at its place, smaller ones before it, int32."""
    x = as_tensor(x)
    return torch.argsort(x.to(torch.uint8) if x.dtype is torch.bool else x, dim=axis, stable=True).int()


@operation("InTopK", module="math", tensors=2)
def in_top_k(targets: Any, predictions: Any, k: int) -> Tensor:
    """Is each target among the `k` largest predictions of its row? Ties count as being so."""
    targets, predictions = both(targets, predictions)
    own = torch.gather(predictions, 1, targets.long()[:, None])
    return (predictions > own).sum(1) < k  # type: ignore[no-any-return]


@operation("MultiHot", module="nn")
def multi_hot(inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """For the integers of a sample together, 1 at each that is there, along `axis`."""
    if sparse:
        raise ValueError("multi_hot(sparse=True) is not supported: tensors are dense.")
    if num_classes is None:
        raise ValueError("multi_hot: num_classes is missing: the number of classes.")
    inputs = as_tensor(inputs).long()
    hot = inputs.unsqueeze(-1) == torch.arange(num_classes, device=inputs.device)
    reduced = 1 if inputs.ndim > 1 else 0
    found = hot.any(reduced).to(DTYPES[standard_dtype(dtype)])
    return torch.moveaxis(found, -1, axis) if axis not in (-1, found.ndim - 1) else found


# -- segments -----------------------------------------------------------------------------------------------------------------------------


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The sum of the rows of `data` of each segment; of none 0."""
    return _segments("segment_sum", data, segment_ids, num_segments, "sum", lambda dtype: 0)


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The product of the rows of `data` of each segment; of none 1."""
    return _segments("segment_prod", data, segment_ids, num_segments, "prod", lambda dtype: 1)


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The largest of the rows of `data` of each segment; of none the lowest number there is."""
    return _segments("segment_max", data, segment_ids, num_segments, "amax", lambda dtype: _lowest(dtype, True))


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The smallest of the rows of `data` of each segment; of none the highest number there is."""
    return _segments("segment_min", data, segment_ids, num_segments, "amin", lambda dtype: _lowest(dtype, False))


def _lowest(dtype: torch.dtype, lowest: bool) -> Any:
    if dtype.is_floating_point:
        return -torch.inf if lowest else torch.inf
    limits = torch.iinfo(dtype)
    return limits.min if lowest else limits.max


def _segments(
    name: str, data: Any, segment_ids: Any, count: int | None, reduce: str, start: Callable[[torch.dtype], Any]
) -> Tensor:  # fmt: skip
    with_values(name, data, segment_ids)
    data = as_tensor(data)
    ids = as_tensor(segment_ids, data).long()
    if ids.ndim != 1 or len(ids) != len(data):
        raise ValueError(f"{name}: segment_ids have shape {tuple(ids.shape)}, expected ({len(data)},), one for each row of data.")
    segments = (int(ids.max()) + 1 if len(ids) else 0) if count is None else count
    inside = (ids >= 0) & (ids < segments)  # others count for nothing
    data, ids = data[inside], ids[inside]
    found = torch.full((segments, *data.shape[1:]), start(data.dtype), dtype=data.dtype, device=data.device)
    if reduce == "sum":
        return found.index_add(0, ids, data)
    places = ids.reshape(-1, *[1] * (data.ndim - 1)).expand_as(data)
    return found.scatter_reduce(0, places, data, reduce)


__all__ = [
    "argpartition",
    "bincount",
    "digitize",
    "histogram",
    "in_top_k",
    "isin",
    "multi_hot",
    "nonzero",
    "searchsorted",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "unique",
]
