"""One number out of many: sums, means, extremes along axes, and running sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES
from disttrain.layers.ops.operation import as_tensor, axes_of, floating, operation
from disttrain.running_sums import running_product, running_sum

_SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)  # whose sums are int32


@operation("Sum")
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`, over everything where it is None. Integers of up to 32 bits give int32."""
    x = as_tensor(x)
    if axis in ((), []):
        return x  # type: ignore[no-any-return]
    total = torch.sum(x, dim=_axes(x, axis), keepdim=keepdims)
    return total.to(torch.int32 if x.dtype in _SMALL else x.dtype)


@operation("Mean")
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`, over everything where it is None."""
    x = floating(x)
    if axis in ((), []):
        return x  # type: ignore[no-any-return]
    if x.dtype in (torch.float16, torch.bfloat16):  # summed in float32, as Keras does
        return torch.mean(x.float(), dim=_axes(x, axis), keepdim=keepdims).to(x.dtype)
    return torch.mean(x, dim=_axes(x, axis), keepdim=keepdims)


@operation("Prod")
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The product over `axis`, over everything where it is None."""
    x = as_tensor(x)
    wanted = DTYPES[dtype] if dtype is not None else torch.int32 if x.dtype in _SMALL else x.dtype
    for number in sorted((one % x.ndim for one in _axes(x, axis)), reverse=True):
        x = torch.prod(x, dim=number, keepdim=keepdims and axis is not None, dtype=wanted)
    return x.to(wanted)  # type: ignore[no-any-return]


@operation("Max")
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The largest along `axis`; not below `initial`."""
    x = as_tensor(x)
    found = x if axis in ((), []) else torch.amax(x, dim=_axes(x, axis), keepdim=keepdims)
    return found if initial is None else torch.clamp(found, min=initial)


@operation("Min")
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The smallest along `axis`; not above `initial`."""
    x = as_tensor(x)
    found = x if axis in ((), []) else torch.amin(x, dim=_axes(x, axis), keepdim=keepdims)
    return found if initial is None else torch.clamp(found, max=initial)


@operation("Amax")
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest along `axis`."""
    x = as_tensor(x)
    return x if axis in ((), []) else torch.amax(x, dim=_axes(x, axis), keepdim=keepdims)


@operation("Amin")
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest along `axis`."""
    x = as_tensor(x)
    return x if axis in ((), []) else torch.amin(x, dim=_axes(x, axis), keepdim=keepdims)


@operation("Var")
def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The variance, divided by n and not by n - 1."""
    x = floating(x)
    found = torch.var(x.float() if x.dtype is torch.float16 else x, dim=_axes(x, axis), keepdim=keepdims, correction=0)
    return found.to(x.dtype)


@operation("Std")
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The standard deviation, the root of `var`."""
    x = floating(x)
    return torch.std(x, dim=_axes(x, axis), keepdim=keepdims, correction=0)


@operation("Any")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Does one hold?"""
    x = as_tensor(x)
    return x.bool() if axis in ((), []) else torch.any(x, dim=_axes(x, axis), keepdim=keepdims).bool()


@operation("All")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Do they all hold?"""
    x = as_tensor(x)
    return x.bool() if axis in ((), []) else torch.all(x, dim=_axes(x, axis), keepdim=keepdims).bool()


@operation("Argmax")
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest is, int32; of the flat tensor where `axis` is None."""
    return torch.argmax(_ordered(x), dim=axis, keepdim=keepdims).int()


@operation("Argmin")
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest is, int32."""
    return torch.argmin(_ordered(x), dim=axis, keepdim=keepdims).int()


@operation("CountNonzero")
def count_nonzero(x: Any, axis: Any = None) -> Tensor:
    """How many are not 0, int32."""
    x = as_tensor(x)
    return torch.count_nonzero(x, dim=axes_of(axis)).int()


@operation("Logsumexp", module="math")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """`log(sum(exp(x)))`, without overflow."""
    x = floating(x)
    return torch.logsumexp(x, dim=_axes(x, axis), keepdim=keepdims)


@operation("Norm", module="linalg")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors along one axis, or of matrices in two; of the flat tensor where both are None."""
    x = floating(x)
    if ord is None:
        return torch.linalg.vector_norm(x, 2, dim=axes_of(axis), keepdim=keepdims)  # type: ignore[no-any-return]
    return torch.linalg.norm(x, ord, dim=axes_of(axis), keepdim=keepdims)  # type: ignore[no-any-return]


@operation("Cumsum")
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running sum along `axis`, of the flat tensor where it is None."""
    x = as_tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    wanted = DTYPES[dtype] if dtype is not None else torch.int32 if x.dtype is torch.bool else x.dtype
    return running_sum(x, axis, wanted)


@operation("Cumprod")
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running product along `axis`, of the flat tensor where it is None."""
    x = as_tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    wanted = DTYPES[dtype] if dtype is not None else torch.int32 if x.dtype is torch.bool else x.dtype
    return running_product(x, axis, wanted)


def _axes(x: Tensor, axis: Any) -> Any:
    """All axes for None."""
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def _ordered(x: Any) -> Tensor:
    x = as_tensor(x)
    return x.to(torch.uint8) if x.dtype is torch.bool else x  # type: ignore[no-any-return]


__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "sum",
    "var",
]
