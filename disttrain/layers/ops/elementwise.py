"""More functions of one number and of two: bits, complex parts, rounding, comparisons that allow for error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, both, floating, of_one_dtype, operation

# -- of one number ----------------------------------------------------------------------------------------------------------------------


@operation("Angle")
def angle(x: Any) -> Tensor:
    """The angle of a complex number; of a real one 0 or pi."""
    return torch.angle(_complex_or_floating(x))


@operation("Arccosh")
def arccosh(x: Any) -> Tensor:
    """The inverse of the hyperbolic cosine."""
    return torch.arccosh(floating(x))


@operation("Arcsinh")
def arcsinh(x: Any) -> Tensor:
    """The inverse of the hyperbolic sine."""
    return torch.arcsinh(floating(x))


@operation("Arctanh")
def arctanh(x: Any) -> Tensor:
    """The inverse of the hyperbolic tangent."""
    return torch.arctanh(floating(x))


@operation("BitwiseInvert")
def bitwise_invert(x: Any) -> Tensor:
    """Each bit the other one."""
    return torch.bitwise_not(as_tensor(x))


@operation("BitwiseNot")
def bitwise_not(x: Any) -> Tensor:
    """Each bit the other one."""
    return torch.bitwise_not(as_tensor(x))


@operation("Cbrt")
def cbrt(x: Any) -> Tensor:
    """The cube root, of a negative number too."""
    x = floating(x)
    return torch.sign(x) * torch.abs(x) ** (1.0 / 3.0)


@operation("Conjugate")
def conjugate(x: Any) -> Tensor:
    """The complex conjugate."""
    x = as_tensor(x)
    return torch.conj(x).resolve_conj() if x.is_complex() else x


conj = conjugate


@operation("Copy")
def copy(x: Any) -> Tensor:
    """The same numbers in a tensor of their own."""
    return torch.clone(as_tensor(x))


@operation("Deg2rad")
def deg2rad(x: Any) -> Tensor:
    """Degrees as radians."""
    return torch.deg2rad(floating(x))


@operation("Rad2deg")
def rad2deg(x: Any) -> Tensor:
    """Radians as degrees."""
    return torch.rad2deg(floating(x))


@operation("Erfc", module="math")
def erfc(x: Any) -> Tensor:
    """`1 - erf(x)`."""
    return torch.erfc(floating(x))


@operation("Erfinv", module="math")
def erfinv(x: Any) -> Tensor:
    """The inverse of the error function."""
    return torch.erfinv(floating(x))


@operation("Fabs")
def fabs(x: Any) -> Tensor:
    """`|x|`, a float."""
    return torch.abs(floating(x))


@operation("I0")
def i0(x: Any) -> Tensor:
    """The modified Bessel function of order 0."""
    return torch.i0(floating(x))


@operation("Imag")
def imag(x: Any) -> Tensor:
    """The imaginary part; of a real number 0."""
    x = as_tensor(x)
    return torch.imag(x) if x.is_complex() else torch.zeros_like(x)


@operation("Real")
def real(x: Any) -> Tensor:
    """The real part."""
    x = as_tensor(x)
    return torch.real(x) if x.is_complex() else x


@operation("Isneginf")
def isneginf(x: Any) -> Tensor:
    """Is it minus infinity?"""
    return torch.isneginf(as_tensor(x))


@operation("Isposinf")
def isposinf(x: Any) -> Tensor:
    """Is it plus infinity?"""
    return torch.isposinf(as_tensor(x))


@operation("Isreal")
def isreal(x: Any) -> Tensor:
    """Has it no imaginary part?"""
    return torch.isreal(as_tensor(x))


@operation("Signbit")
def signbit(x: Any) -> Tensor:
    """Is its sign minus, that of -0.0 too?"""
    return torch.signbit(as_tensor(x))


@operation("Sinc")
def sinc(x: Any) -> Tensor:
    """`sin(pi x) / (pi x)`, 1 at 0."""
    return torch.sinc(floating(x))


@operation("Trunc")
def trunc(x: Any) -> Tensor:
    """Rounded towards 0."""
    x = as_tensor(x)
    return x if x.dtype is torch.bool else torch.trunc(x)


@operation("SaturateCast", module="core")
def saturate_cast(x: Any, dtype: Any) -> Tensor:
    """In another dtype, where what is beyond its range becomes its end."""
    x, wanted = as_tensor(x), DTYPES[standard_dtype(dtype)]
    if x.dtype is torch.bool or wanted is torch.bool:
        return x.to(wanted)  # type: ignore[no-any-return]
    limits: Any = torch.finfo(wanted) if wanted.is_floating_point else torch.iinfo(wanted)
    own: Any = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    if x.is_floating_point() and not wanted.is_floating_point:
        x = torch.nan_to_num(x, nan=0.0)
        inside = x.double().clamp(float(low), float(high))
        found = inside.to(torch.int64) if wanted is torch.int64 else inside.to(wanted)
        return torch.where(x.double() >= float(high), torch.full_like(found, limits.max), found) if limits.max <= own.max else found
    return torch.clamp(x, low, high).to(wanted)


@operation("View")
def view(x: Any, dtype: Any = None) -> Tensor:
    """The same bytes read as another dtype."""
    x = as_tensor(x)
    return x if dtype is None else x.contiguous().view(DTYPES[standard_dtype(dtype)])  # type: ignore[no-any-return]


@operation("ViewAsComplex", module="math")
def view_as_complex(x: Any) -> Tensor:
    """Pairs along the last axis as complex numbers."""
    x = floating(x)
    if x.shape[-1] != 2:
        raise ValueError(f"view_as_complex: got shape {tuple(x.shape)}, expected a last axis of size 2: real and imaginary part.")
    return torch.view_as_complex(x.contiguous())


@operation("ViewAsReal", module="math")
def view_as_real(x: Any) -> Tensor:
    """Complex numbers as pairs along a new last axis."""
    return torch.view_as_real(as_tensor(x))


# -- of two -------------------------------------------------------------------------------------------------------------------------------


@operation("AllClose", tensors=2)
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Are all pairs as near as `isclose` asks for? A bool in a tensor."""
    return isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan).all()


@operation("Isclose", tensors=2)
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Is `|x1 - x2|` at most `atol + rtol * |x2|`?"""
    x1, x2 = of_one_dtype(x1, x2)
    return torch.isclose(x1, x2, rtol, atol, equal_nan)


@operation("BitwiseAnd", tensors=2)
def bitwise_and(x: Any, y: Any) -> Tensor:
    """The bits that both have."""
    return torch.bitwise_and(*both(x, y))


@operation("BitwiseOr", tensors=2)
def bitwise_or(x: Any, y: Any) -> Tensor:
    """The bits that one has, or both."""
    return torch.bitwise_or(*both(x, y))


@operation("BitwiseXor", tensors=2)
def bitwise_xor(x: Any, y: Any) -> Tensor:
    """The bits that one has alone."""
    return torch.bitwise_xor(*both(x, y))


@operation("BitwiseLeftShift", tensors=2)
def bitwise_left_shift(x: Any, y: Any) -> Tensor:
    """The bits moved up by `y` places."""
    return torch.bitwise_left_shift(*both(x, y))


@operation("LeftShift", tensors=2)
def left_shift(x: Any, y: Any) -> Tensor:
    """The bits moved up by `y` places."""
    return torch.bitwise_left_shift(*both(x, y))


@operation("BitwiseRightShift", tensors=2)
def bitwise_right_shift(x: Any, y: Any) -> Tensor:
    """The bits moved down by `y` places."""
    return torch.bitwise_right_shift(*both(x, y))


@operation("RightShift", tensors=2)
def right_shift(x: Any, y: Any) -> Tensor:
    """The bits moved down by `y` places."""
    return torch.bitwise_right_shift(*both(x, y))


@operation("Fmax", tensors=2)
def fmax(x1: Any, x2: Any) -> Tensor:
    """The larger of each two, and the number beside a NaN."""
    return torch.fmax(*both(x1, x2))


@operation("Fmin", tensors=2)
def fmin(x1: Any, x2: Any) -> Tensor:
    """The smaller of each two, and the number beside a NaN."""
    return torch.fmin(*both(x1, x2))


@operation("Fmod", tensors=2)
def fmod(x1: Any, x2: Any) -> Tensor:
    """The remainder with the sign of `x1`."""
    return torch.fmod(*both(x1, x2))


@operation("Gcd", tensors=2)
def gcd(x1: Any, x2: Any) -> Tensor:
    """The greatest common divisor."""
    return torch.gcd(*both(x1, x2))


@operation("Lcm", tensors=2)
def lcm(x1: Any, x2: Any) -> Tensor:
    """The least common multiple."""
    return torch.lcm(*both(x1, x2))


@operation("Heaviside", tensors=2)
def heaviside(x1: Any, x2: Any) -> Tensor:
    """0 below 0, 1 above, and `x2` at 0."""
    x1, x2 = both(x1, x2)
    dtype = torch.promote_types(x1.dtype, x2.dtype)
    dtype = dtype if dtype.is_floating_point else DTYPES[standard_dtype(None)] if dtype is not torch.int64 else dtype
    return torch.heaviside(x1.to(dtype), x2.to(dtype))


@operation("Hypot", tensors=2)
def hypot(x1: Any, x2: Any) -> Tensor:
    """`sqrt(x1**2 + x2**2)`, without overflow."""
    return torch.hypot(*of_one_dtype(floating(x1), floating(x2)))


@operation("Ldexp", tensors=2)
def ldexp(x1: Any, x2: Any) -> Tensor:
    """`x1 * 2**x2`, for whole `x2`."""
    x1, x2 = both(x1, x2)
    if x2.is_floating_point():
        raise TypeError(f"ldexp: x2 has dtype {str(x2.dtype).removeprefix('torch.')}, expected integers.")
    return torch.ldexp(floating(x1), x2)


@operation("Logaddexp2", tensors=2)
def logaddexp2(x1: Any, x2: Any) -> Tensor:
    """`log2(2**x1 + 2**x2)`, without overflow."""
    return torch.logaddexp2(*both(floating(x1), floating(x2)))


@operation("Nextafter", tensors=2)
def nextafter(x1: Any, x2: Any) -> Tensor:
    """The next number of the dtype after `x1` towards `x2`."""
    return torch.nextafter(*of_one_dtype(floating(x1), floating(x2)))


@operation("Polar", module="nn", tensors=2)
def polar(abs_: Any, angle: Any) -> Tensor:
    """The complex number of that length and angle."""
    return torch.polar(*both(floating(abs_), floating(angle)))


def _complex_or_floating(x: Any) -> Tensor:
    x = as_tensor(x)
    return x if x.is_complex() else floating(x)


__all__ = [
    "allclose",
    "angle",
    "arccosh",
    "arcsinh",
    "arctanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cbrt",
    "conj",
    "conjugate",
    "copy",
    "deg2rad",
    "erfc",
    "erfinv",
    "fabs",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "heaviside",
    "hypot",
    "i0",
    "imag",
    "isclose",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "left_shift",
    "logaddexp2",
    "nextafter",
    "polar",
    "rad2deg",
    "real",
    "right_shift",
    "saturate_cast",
    "signbit",
    "sinc",
    "trunc",
    "view",
    "view_as_complex",
    "view_as_real",
]
