"""Does a value from a file fit a weight? Nothing is broadcast, and nothing is rounded in silence."""

from __future__ import annotations

import torch
from torch import Tensor


def misfit(weight: Tensor, value: Tensor) -> str | None:
    """What is wrong with `value` for `weight`, in words; None if it fits, bit for bit.

    Whole numbers may be of another width, since other libraries count with others, as long as each stays what it is.
    """
    if value.shape != weight.shape:
        return f"shape {tuple(value.shape)} in the file, {tuple(weight.shape)} in the model"
    if value.dtype == weight.dtype:
        return None
    whole = not any(tensor.dtype.is_floating_point or tensor.dtype.is_complex for tensor in (weight, value))
    if whole and torch.equal(value.to(weight.dtype).to(value.dtype), value):
        return None
    return f"dtype {_name(value)} in the file, {_name(weight)} in the model"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
