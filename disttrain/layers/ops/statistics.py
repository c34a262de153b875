"""Averages, medians and quantiles, and reductions that leave NaN out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, floating, operation

_SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)  # whose sums are int32


@operation("Average", tensors=("x", "weights"))
def average(x: Any, axis: Any = None, weights: Any = None) -> Tensor:
    """The mean over `axis`, each number weighted; over everything where `axis` is None."""
    x = floating(x)
    if axis in ((), []):
        return x  # type: ignore[no-any-return]
    if weights is None:
        return torch.mean(x, dim=_axes(x, axis))
    weights = as_tensor(weights, x)
    dtype = torch.promote_types(x.dtype, weights.dtype)
    x, weights = x.to(dtype), weights.to(dtype)
    if weights.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        weights = weights.reshape([-1 if place == axis % x.ndim else 1 for place in range(x.ndim)])
    total = torch.broadcast_to(weights, x.shape).sum(_axes(x, axis))
    return (x * weights).sum(_axes(x, axis)) / total  # type: ignore[no-any-return]


@operation("Median")
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The middle number along `axis`, or the mean of the two in the middle."""
    return _quantile(torch.quantile, x, 0.5, axis, "linear", keepdims)


@operation("Nanmedian")
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """`median` without NaN."""
    return _quantile(torch.nanquantile, x, 0.5, axis, "linear", keepdims)


@operation("Quantile", tensors=2)
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The number below which a share `q` along `axis` lies; for several `q` a first axis of them.

    Args:
        method: for what is between two numbers: "linear", "lower", "higher", "midpoint" or "nearest".
    """
    return _quantile(torch.quantile, x, q, axis, method, keepdims)


@operation("Nanquantile", tensors=2)
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """`quantile` without NaN."""
    return _quantile(torch.nanquantile, x, q, axis, method, keepdims)


@operation("Percentile", tensors=2)
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """`quantile` with `q` from 0 to 100."""
    return _quantile(torch.quantile, x, _hundredth(q), axis, method, keepdims)


@operation("Nanpercentile", tensors=2)
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """`percentile` without NaN."""
    return _quantile(torch.nanquantile, x, _hundredth(q), axis, method, keepdims)


@operation("Ptp")
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest minus the smallest along `axis`."""
    x = as_tensor(x)
    if axis in ((), []):
        return torch.zeros_like(x)
    return torch.amax(x, _axes(x, axis), keepdims) - torch.amin(x, _axes(x, axis), keepdims)


@operation("Moments", module="nn")
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[Tensor, Tensor]:
    """(mean, variance) over `axes`.

    Args:
        synchronized: is refused: a slice of a batch is what a function sees.
    """
    if synchronized:
        raise ValueError(
            "moments(synchronized=True) is not supported: a step sees a slice. BatchNormalization(synchronized=True) is a layer."
        )
    x = floating(x)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    axes = _axes(x, axes)
    mean = torch.mean(wide, axes, keepdim=True)
    variance = torch.mean(torch.square(wide - mean), axes, keepdim=True)
    if not keepdims:
        mean, variance = mean.squeeze(axes), variance.squeeze(axes)
    return mean.to(x.dtype), variance.to(x.dtype)


# -- without NaN --------------------------------------------------------------------------------------------------------------------------


@operation("Nansum")
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum without NaN."""
    x = as_tensor(x)
    if axis in ((), []):
        return torch.nan_to_num(x, nan=0.0) if x.is_floating_point() else x
    total = torch.nansum(x, _axes(x, axis), keepdims) if x.is_floating_point() else torch.sum(x, _axes(x, axis), keepdims)
    return total.to(torch.int32 if x.dtype in _SMALL else x.dtype)


@operation("Nanmean")
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean without NaN."""
    x = floating(x)
    return x if axis in ((), []) else torch.nanmean(x, _axes(x, axis), keepdims)


@operation("Nanvar")
def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The variance without NaN."""
    x = floating(x)
    axes = _axes(x, axis)
    return torch.nanmean(torch.square(x - torch.nanmean(x, axes, True)), axes, keepdims)


@operation("Nanstd")
def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The standard deviation without NaN."""
    x = floating(x)
    axes = _axes(x, axis)
    return torch.sqrt(torch.nanmean(torch.square(x - torch.nanmean(x, axes, True)), axes, keepdims))


@operation("Nanprod")
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product without NaN."""
    x = as_tensor(x)
    wanted = torch.int32 if x.dtype in _SMALL else x.dtype
    x = torch.where(torch.isnan(x), torch.ones_like(x), x)
    for place in sorted((one % x.ndim for one in _axes(x, axis)), reverse=True):
        x = torch.prod(x, place, keepdim=keepdims, dtype=wanted)
    return x.to(wanted)  # type: ignore[no-any-return]


@operation("Nanmax")
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest number that is no NaN; NaN where all are."""
    return _extreme(x, axis, keepdims, torch.amax, -torch.inf)


@operation("Nanmin")
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest number that is no NaN; NaN where all are."""
    return _extreme(x, axis, keepdims, torch.amin, torch.inf)


@operation("Nanargmax")
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest number is that is no NaN, int32; -1 where all are NaN."""
    return _place(x, axis, keepdims, torch.argmax, -torch.inf)


@operation("Nanargmin")
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest number is that is no NaN, int32; -1 where all are NaN."""
    return _place(x, axis, keepdims, torch.argmin, torch.inf)


@operation("Nancumsum")
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running sum in which NaN counts as 0."""
    return _running(x, axis, dtype, torch.cumsum, 0)


@operation("Nancumprod")
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running product in which NaN counts as 1."""
    return _running(x, axis, dtype, torch.cumprod, 1)


@operation("Corrcoef")
def corrcoef(x: Any) -> Tensor:
    """The correlations of the rows of `x` with each other."""
    return torch.corrcoef(floating(x))


@operation("Trapezoid", tensors=("y",))
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The area below `y` at the places `x`, or at places `dx` apart."""
    y = floating(y)
    if x is not None:
        return torch.trapezoid(y, floating(as_tensor(x, y)), dim=axis)
    return torch.trapezoid(y, dx=dx, dim=axis)


@operation("Diff")
def diff(a: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences of neighbours along `axis`, `n` times."""
    return torch.diff(as_tensor(a), n=n, dim=axis)


def _axes(x: Tensor, axis: Any) -> Any:
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def _hundredth(q: Any) -> Any:
    return as_tensor(q).double() / 100 if not isinstance(q, int | float) else q / 100


def _quantile(function: Callable[..., Tensor], x: Any, q: Any, axis: Any, method: str, keepdims: bool) -> Tensor:
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(f"quantile(method={method!r}): expected 'linear', 'lower', 'higher', 'midpoint' or 'nearest'.")
    x = floating(x)
    kept = x.dtype
    wide = x.float() if kept in (torch.float16, torch.bfloat16) else x
    shares = as_tensor(q, wide).to(wide.dtype).to(wide.device)
    axes = sorted(one % x.ndim for one in _axes(x, axis)) if x.ndim else []
    rest = [place for place in range(x.ndim) if place not in axes]
    flat = wide.permute(*rest, *axes).reshape(*[wide.shape[place] for place in rest], -1)
    found = function(flat, shares, dim=-1, interpolation=method)
    if keepdims:
        sizes = [1 if place in axes else size for place, size in enumerate(x.shape)]
        found = found.reshape(*shares.shape, *sizes)
    return found.to(kept)


def _extreme(x: Any, axis: Any, keepdims: bool, reduce: Callable[..., Tensor], instead: float) -> Tensor:
    x = as_tensor(x)
    if axis in ((), []):
        return x  # type: ignore[no-any-return]
    if not x.is_floating_point():
        return reduce(x, _axes(x, axis), keepdims)
    nan = torch.isnan(x)
    found = reduce(torch.where(nan, instead, x), _axes(x, axis), keepdims)
    return torch.where(torch.all(nan, dim=_axes(x, axis), keepdim=keepdims), torch.nan, found).to(x.dtype)


def _place(x: Any, axis: int | None, keepdims: bool, reduce: Callable[..., Tensor], instead: float) -> Tensor:
    x = as_tensor(x)
    if not x.is_floating_point():
        return reduce(x.to(torch.uint8) if x.dtype is torch.bool else x, dim=axis, keepdim=keepdims).int()
    nan = torch.isnan(x)
    found = reduce(torch.where(nan, instead, x), dim=axis, keepdim=keepdims).int()
    empty = torch.all(nan, dim=_axes(x, axis), keepdim=keepdims)
    return torch.where(empty, -1, found)


def _running(x: Any, axis: int | None, dtype: Any, run: Callable[..., Tensor], instead: int) -> Tensor:
    x = as_tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    wanted = DTYPES[standard_dtype(dtype)] if dtype is not None else torch.int32 if x.dtype is torch.bool else x.dtype
    x = torch.where(torch.isnan(x), instead, x) if x.is_floating_point() else x
    return run(x, dim=axis, dtype=wanted)


__all__ = [
    "average",
    "corrcoef",
    "diff",
    "median",
    "moments",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "percentile",
    "ptp",
    "quantile",
    "trapezoid",
]
