"""Which is larger, which is finite, which of two: bools and what is chosen by them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.ops.operation import as_tensor, both, operation


@operation("Equal", tensors=2)
def equal(x1: Any, x2: Any) -> Tensor:
    """`x1 == x2`, for each number."""
    return torch.eq(*both(x1, x2))


@operation("NotEqual", tensors=2)
def not_equal(x1: Any, x2: Any) -> Tensor:
    """`x1 != x2`, for each number."""
    return torch.not_equal(*both(x1, x2))


@operation("Less", tensors=2)
def less(x1: Any, x2: Any) -> Tensor:
    """`x1 < x2`."""
    return torch.less(*both(x1, x2))


@operation("LessEqual", tensors=2)
def less_equal(x1: Any, x2: Any) -> Tensor:
    """`x1 <= x2`."""
    return torch.less_equal(*both(x1, x2))


@operation("Greater", tensors=2)
def greater(x1: Any, x2: Any) -> Tensor:
    """`x1 > x2`."""
    return torch.greater(*both(x1, x2))


@operation("GreaterEqual", tensors=2)
def greater_equal(x1: Any, x2: Any) -> Tensor:
    """`x1 >= x2`."""
    return torch.greater_equal(*both(x1, x2))


@operation("LogicalAnd", tensors=2)
def logical_and(x1: Any, x2: Any) -> Tensor:
    """Both; a number that is not 0 is true."""
    return torch.logical_and(*both(x1, x2))


@operation("LogicalOr", tensors=2)
def logical_or(x1: Any, x2: Any) -> Tensor:
    """One of them or both."""
    return torch.logical_or(*both(x1, x2))


@operation("LogicalXor", tensors=2)
def logical_xor(x1: Any, x2: Any) -> Tensor:
    """One of them, not both."""
    return torch.logical_xor(*both(x1, x2))


@operation("LogicalNot")
def logical_not(x: Any) -> Tensor:
    """Is it 0, or False?"""
    return torch.logical_not(as_tensor(x))


@operation("Isnan")
def isnan(x: Any) -> Tensor:
    """Is it not a number?"""
    return torch.isnan(as_tensor(x))


@operation("Isinf")
def isinf(x: Any) -> Tensor:
    """Is it infinite?"""
    return torch.isinf(as_tensor(x))


@operation("Isfinite")
def isfinite(x: Any) -> Tensor:
    """Is it neither infinite nor NaN?"""
    return torch.isfinite(as_tensor(x))


@operation("NanToNum")
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Numbers in place of NaN and the infinities, of which the largest of the dtype unless told."""
    return torch.nan_to_num(as_tensor(x), nan, posinf, neginf)


@operation("Where", tensors=3)
def where(condition: Any, x1: Any = None, x2: Any = None) -> Tensor:
    """`x1` where the condition holds, else `x2`; without them the indices where it holds, a row for each axis."""
    if (x1 is None) != (x2 is None):
        raise ValueError("where(condition, x1, x2): expected both x1 and x2, or neither.")
    beside = next((value for value in (condition, x1, x2) if isinstance(value, Tensor)), None)
    chosen = as_tensor(condition, beside).bool()
    if x1 is None:
        return torch.stack(torch.where(chosen))
    return torch.where(chosen, as_tensor(x1, beside), as_tensor(x2, beside))


__all__ = [
    "equal",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "nan_to_num",
    "not_equal",
    "where",
]
