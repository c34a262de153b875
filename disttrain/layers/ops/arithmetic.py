"""Sums, products, powers and the functions of one number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.ops.operation import as_tensor, both, floating, operation

# -- of two tensors ---------------------------------------------------------------------------------------------------------------------


@operation("Add", tensors=2)
def add(x1: Any, x2: Any) -> Tensor:
    """`x1 + x2`."""
    x1, x2 = both(x1, x2)
    return torch.add(x1, x2)


@operation("Subtract", tensors=2)
def subtract(x1: Any, x2: Any) -> Tensor:
    """`x1 - x2`; a bool counts as 0 or 1."""
    x1, x2 = both(x1, x2)
    x1 = x1.to(x2.dtype) if x1.dtype is torch.bool else x1
    return torch.subtract(x1, x2.to(x1.dtype) if x2.dtype is torch.bool else x2)


@operation("Multiply", tensors=2)
def multiply(x1: Any, x2: Any) -> Tensor:
    """`x1 * x2`."""
    x1, x2 = both(x1, x2)
    return torch.multiply(x1, x2)


@operation("Divide", tensors=2)
def divide(x1: Any, x2: Any) -> Tensor:
    """`x1 / x2`, of integers too a float."""
    x1, x2 = both(x1, x2)
    return torch.divide(x1, x2)


@operation("TrueDivide", tensors=2)
def true_divide(x1: Any, x2: Any) -> Tensor:
    """`x1 / x2`."""
    x1, x2 = both(x1, x2)
    return torch.divide(x1, x2)


@operation("DivideNoNan", tensors=2)
def divide_no_nan(x1: Any, x2: Any) -> Tensor:
    """`x1 / x2`, and 0 where `x2` is 0."""
    x1, x2 = both(x1, x2)
    zero = x2 == 0
    return torch.where(zero, 0, x1 / torch.where(zero, 1, x2))


@operation("FloorDivide", tensors=2)
def floor_divide(x1: Any, x2: Any) -> Tensor:
    """`x1 // x2`, rounded down."""
    x1, x2 = both(x1, x2)
    return torch.floor_divide(x1, x2)


@operation("Mod", tensors=2)
def mod(x1: Any, x2: Any) -> Tensor:
    """`x1 % x2`, with the sign of `x2`."""
    x1, x2 = both(x1, x2)
    if x1.dtype is torch.bool and x2.dtype is torch.bool:
        x1, x2 = x1.int(), x2.int()
    return torch.remainder(x1, x2)


@operation("Power", tensors=2)
def power(x1: Any, x2: Any) -> Tensor:
    """`x1 ** x2`."""
    x1, x2 = both(x1, x2)
    return torch.pow(x1, x2)


@operation("Maximum", tensors=2)
def maximum(x1: Any, x2: Any) -> Tensor:
    """The larger of each two."""
    x1, x2 = both(x1, x2)
    return torch.maximum(x1, x2)


@operation("Minimum", tensors=2)
def minimum(x1: Any, x2: Any) -> Tensor:
    """The smaller of each two."""
    x1, x2 = both(x1, x2)
    return torch.minimum(x1, x2)


@operation("Arctan2", tensors=2)
def arctan2(x1: Any, x2: Any) -> Tensor:
    """The angle of the point (x2, x1)."""
    return torch.arctan2(*both(floating(x1), floating(x2)))


@operation("Logaddexp", tensors=2)
def logaddexp(x1: Any, x2: Any) -> Tensor:
    """`log(exp(x1) + exp(x2))`, without overflow."""
    return torch.logaddexp(*both(floating(x1), floating(x2)))


# -- of one tensor ----------------------------------------------------------------------------------------------------------------------


@operation("Absolute")
def absolute(x: Any) -> Tensor:
    """`|x|`."""
    x = as_tensor(x)
    return x if x.dtype is torch.bool else torch.abs(x)


@operation("Negative")
def negative(x: Any) -> Tensor:
    """`-x`."""
    return torch.negative(as_tensor(x))


@operation("Sign")
def sign(x: Any) -> Tensor:
    """-1, 0 or 1."""
    return torch.sign(as_tensor(x))


@operation("Square")
def square(x: Any) -> Tensor:
    """`x * x`."""
    x = as_tensor(x)
    return torch.square(x.int() if x.dtype is torch.bool else x)


@operation("Sqrt")
def sqrt(x: Any) -> Tensor:
    """The square root."""
    return torch.sqrt(floating(x))


@operation("Rsqrt", module="math")
def rsqrt(x: Any) -> Tensor:
    """`1 / sqrt(x)`."""
    return torch.rsqrt(floating(x))


@operation("Reciprocal")
def reciprocal(x: Any) -> Tensor:
    """`1 / x`."""
    return torch.reciprocal(as_tensor(x))


@operation("Exp")
def exp(x: Any) -> Tensor:
    """e to the power of `x`."""
    return torch.exp(floating(x))


@operation("Exp2")
def exp2(x: Any) -> Tensor:
    """2 to the power of `x`."""
    return torch.exp2(floating(x))


@operation("Expm1")
def expm1(x: Any) -> Tensor:
    """`exp(x) - 1`, exact for small `x`."""
    return torch.expm1(floating(x))


@operation("Log")
def log(x: Any) -> Tensor:
    """The natural logarithm."""
    return torch.log(floating(x))


@operation("Log10")
def log10(x: Any) -> Tensor:
    """The logarithm to base 10."""
    return torch.log10(floating(x))


@operation("Log1p")
def log1p(x: Any) -> Tensor:
    """`log(1 + x)`, exact for small `x`."""
    return torch.log1p(floating(x))


@operation("Log2")
def log2(x: Any) -> Tensor:
    """The logarithm to base 2."""
    return torch.log2(floating(x))


@operation("Sin")
def sin(x: Any) -> Tensor:
    """The sine of `x` radians."""
    return torch.sin(floating(x))


@operation("Cos")
def cos(x: Any) -> Tensor:
    """The cosine of `x` radians."""
    return torch.cos(floating(x))


@operation("Tan")
def tan(x: Any) -> Tensor:
    """The tangent of `x` radians."""
    return torch.tan(floating(x))


@operation("Arcsin")
def arcsin(x: Any) -> Tensor:
    """The inverse of the sine."""
    return torch.arcsin(floating(x))


@operation("Arccos")
def arccos(x: Any) -> Tensor:
    """The inverse of the cosine."""
    return torch.arccos(floating(x))


@operation("Arctan")
def arctan(x: Any) -> Tensor:
    """The inverse of the tangent."""
    return torch.arctan(floating(x))


@operation("Sinh")
def sinh(x: Any) -> Tensor:
    """The hyperbolic sine."""
    return torch.sinh(floating(x))


@operation("Cosh")
def cosh(x: Any) -> Tensor:
    """The hyperbolic cosine."""
    return torch.cosh(floating(x))


@operation("Tanh")
def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(floating(x))


@operation("Erf", module="math")
def erf(x: Any) -> Tensor:
    """The error function."""
    return torch.erf(floating(x))


@operation("Floor")
def floor(x: Any) -> Tensor:
    """Rounded down; a float."""
    return torch.floor(floating(x))


@operation("Ceil")
def ceil(x: Any) -> Tensor:
    """Rounded up; a float."""
    return torch.ceil(floating(x))


@operation("Round")
def round(x: Any, decimals: int = 0) -> Tensor:
    """Rounded to `decimals` digits after the point, halves to even."""
    x = as_tensor(x)
    if x.is_floating_point():
        return torch.round(x, decimals=decimals)
    return torch.round(x.float(), decimals=decimals).to(x.dtype)


@operation("Clip")
def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """Not below `x_min`, not above `x_max`."""
    x = as_tensor(x)
    x = x.int() if x.dtype is torch.bool else x
    return torch.clip(x, as_tensor(x_min, x), as_tensor(x_max, x))


@operation("StopGradient", module="core")
def stop_gradient(variable: Any) -> Tensor:
    """The value, through which no gradient goes."""
    return as_tensor(variable).detach()


__all__ = [
    "absolute",
    "add",
    "arccos",
    "arcsin",
    "arctan",
    "arctan2",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "divide",
    "divide_no_nan",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "power",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
]
