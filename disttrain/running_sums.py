"""Running sums that have one result on every device."""

from __future__ import annotations

import torch
from torch import Tensor


def running_sum(x: Tensor, axis: int = -1, dtype: torch.dtype | None = None) -> Tensor:
    """The sums of the numbers up to each along `axis`, as `torch.cumsum`.

    CUDA's own of floats adds in no fixed order, and torch refuses it where computations are to be deterministic. Off the CPU floats are
    added by doubling steps (Hillis & Steele 1986): log2(n) sums of whole tensors, in an order that is a matter of n alone.
    """
    dtype = dtype or (torch.int64 if not x.dtype.is_floating_point and not x.dtype.is_complex else x.dtype)
    if x.device.type == "cpu" or not dtype.is_floating_point:
        return torch.cumsum(x, axis, dtype=dtype)
    total, size, step = x.to(dtype), x.shape[axis] if x.ndim else 1, 1
    while step < size:
        later = total.narrow(axis, step, size - step) + total.narrow(axis, 0, size - step)
        total = torch.cat([total.narrow(axis, 0, step), later], axis)
        step *= 2
    return total
