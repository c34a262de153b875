"""Running sums and products that have one result on every device, and so have their gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def running_sum(x: Tensor, axis: int = -1, dtype: torch.dtype | None = None) -> Tensor:
    """The sums of the numbers up to each along `axis`, as `torch.cumsum`.

    CUDA's own of floats adds in no fixed order, and torch refuses it where computations are to be deterministic. Off the CPU floats are
    added by doubling steps (Hillis & Steele 1986): log2(n) sums of whole tensors, in an order that is a matter of n alone.
    """
    return _running(x, axis, dtype, torch.cumsum, torch.add)


def running_product(x: Tensor, axis: int = -1, dtype: torch.dtype | None = None) -> Tensor:
    """The products likewise, as `torch.cumprod`, whose gradient is a running sum."""
    return _running(x, axis, dtype, torch.cumprod, torch.mul)


def _running(
    x: Tensor, axis: int, dtype: torch.dtype | None, theirs: Callable[..., Tensor], combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:  # fmt: skip
    dtype = dtype or (x.dtype if x.dtype.is_floating_point or x.dtype.is_complex else torch.int64)
    if x.device.type == "cpu" or not dtype.is_floating_point:
        return theirs(x, axis, dtype=dtype)
    total, size, step = x.to(dtype), x.shape[axis] if x.ndim else 1, 1
    while step < size:
        later = combine(total.narrow(axis, step, size - step), total.narrow(axis, 0, size - step))
        total = torch.cat([total.narrow(axis, 0, step), later], axis)
        step *= 2
    return total
