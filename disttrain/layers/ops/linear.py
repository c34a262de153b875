"""Linear algebra on the matrices in the last two axes, and products of vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.ops.operation import as_tensor, both, floating, of_one_dtype, operation
from disttrain.layers.symbolic import Shape


def _same(shape: Shape, *_: Any, **__: Any) -> Shape:
    return tuple(shape)


def _of_second(one: Shape, two: Shape, **_: Any) -> Shape:
    return tuple(two)


def _of_least_squares(one: Shape, two: Shape, **_: Any) -> Shape:
    return (one[-1],) if len(two) == 1 else (*one[:-2], one[-1], two[-1])


@operation("Cholesky", module="linalg", infer=_same)
def cholesky(x: Any, upper: bool = False) -> Tensor:
    """The lower triangular `L` with `L @ L.T = x`, or the upper one."""
    return torch.linalg.cholesky(floating(x), upper=upper)  # type: ignore[no-any-return]


@operation("CholeskyInverse", module="linalg", infer=_same)
def cholesky_inverse(x: Any, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is `x`."""
    return torch.cholesky_inverse(floating(x), upper=upper)


@operation("Det", module="linalg")
def det(x: Any) -> Tensor:
    """The determinant."""
    return torch.linalg.det(floating(x))  # type: ignore[no-any-return]


@operation("Slogdet", module="numpy")
def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """(the sign of the determinant, the logarithm of its size)."""
    found = torch.linalg.slogdet(floating(x))
    return found.sign, found.logabsdet


@operation("Logdet", module="math")
def logdet(x: Any) -> Tensor:
    """The logarithm of the determinant; NaN where it is negative."""
    return torch.logdet(floating(x))


@operation("Eig", module="linalg")
def eig(x: Any) -> tuple[Tensor, Tensor]:
    """(eigenvalues, eigenvectors as columns), complex."""
    found = torch.linalg.eig(floating(x))
    return found.eigenvalues, found.eigenvectors


@operation("Eigh", module="linalg")
def eigh(x: Any) -> tuple[Tensor, Tensor]:
    """(eigenvalues in rising order, eigenvectors as columns) of symmetric matrices."""
    found = torch.linalg.eigh(floating(x))
    return found.eigenvalues, found.eigenvectors


@operation("Inv", module="linalg", infer=_same)
def inv(x: Any) -> Tensor:
    """The inverse."""
    return torch.linalg.inv(floating(x))  # type: ignore[no-any-return]


@operation("LuFactor", module="linalg")
def lu_factor(x: Any) -> tuple[Tensor, Tensor]:
    """(both triangles in one matrix, the rows exchanged at each step, from 0)."""
    found = torch.linalg.lu_factor(floating(x))
    return found.LU, found.pivots - 1


@operation("Qr", module="linalg")
def qr(x: Any, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """(orthogonal `q`, upper triangular `r`) with `q @ r = x`."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr(mode={mode!r}): expected 'reduced' or 'complete'.")
    found = torch.linalg.qr(floating(x), mode=mode)
    return found.Q, found.R


@operation("Solve", module="linalg", tensors=2, infer=_of_second)
def solve(a: Any, b: Any) -> Tensor:
    """`x` with `a @ x = b`."""
    return torch.linalg.solve(*both(floating(a), floating(b)))  # type: ignore[no-any-return]


@operation("SolveTriangular", module="linalg", tensors=2, infer=_of_second)
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Tensor:
    """`x` with `a @ x = b` for a triangular `a`."""
    a, b = both(floating(a), floating(b))
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve_triangular(a, b[..., None], upper=not lower)[..., 0]  # type: ignore[no-any-return]
    return torch.linalg.solve_triangular(a, b, upper=not lower)  # type: ignore[no-any-return]


@operation("SVD", module="linalg")
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """(u, s, vh) with `u @ diag(s) @ vh = x`; without `compute_uv` s alone."""
    if not compute_uv:
        return torch.linalg.svdvals(floating(x))
    found = torch.linalg.svd(floating(x), full_matrices=full_matrices)
    return found.U, found.S, found.Vh


@operation("Lstsq", module="linalg", tensors=2, infer=_of_least_squares)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """`x` with the least `|a @ x - b|`.

    Args:
        rcond: singular values below this share of the largest count as 0.
    """
    a, b = both(floating(a), floating(b))
    columns = b[..., None] if b.ndim == 1 else b
    found = torch.linalg.pinv(a, rtol=rcond) @ columns if rcond is not None else torch.linalg.lstsq(a, columns).solution
    return found[..., 0] if b.ndim == 1 else found  # type: ignore[no-any-return]


@operation("MatrixRank", module="linalg")
def matrix_rank(x: Any, tol: float | None = None) -> Tensor:
    """How many singular values are above `tol`, int32."""
    return torch.linalg.matrix_rank(floating(x), atol=tol).to(torch.int32)  # type: ignore[no-any-return]


@operation("Pinv", module="linalg")
def pinv(x: Any, rcond: float | None = None) -> Tensor:
    """The pseudo-inverse."""
    return torch.linalg.pinv(floating(x), rtol=rcond)  # type: ignore[no-any-return]


@operation("CDist", module="math", tensors=2)
def cdist(x: Any, y: Any) -> Tensor:
    """The distances of each row of `x` from each row of `y`."""
    x, y = both(floating(x), floating(y))
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"cdist: got shapes {tuple(x.shape)} and {tuple(y.shape)}, expected (..., n, d) and (..., m, d).")
    return torch.sqrt(torch.square(x.unsqueeze(-2) - y.unsqueeze(-3)).sum(-1))


# -- products -----------------------------------------------------------------------------------------------------------------------------


@operation("Cross", tensors=2)
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """The cross product of vectors of 3 or 2 elements."""
    x1, x2 = of_one_dtype(x1, x2)
    axisa, axisb, axisc = (axis, axis, axis) if axis is not None else (axisa, axisb, axisc)
    x1, x2 = torch.moveaxis(x1, axisa, -1), torch.moveaxis(x2, axisb, -1)
    flat = x1.shape[-1] == x2.shape[-1] == 2
    one, two = (torch.nn.functional.pad(x, (0, 1)) if x.shape[-1] == 2 else x for x in (x1, x2))
    if one.shape[-1] != 3 or two.shape[-1] != 3:
        raise ValueError(f"cross: got vectors of {x1.shape[-1]} and {x2.shape[-1]} elements, expected 2 or 3.")
    one, two = torch.broadcast_tensors(one, two)
    found = torch.linalg.cross(one, two, dim=-1)
    return found[..., 2] if flat else torch.moveaxis(found, -1, axisc)


@operation("Inner", tensors=2)
def inner(x1: Any, x2: Any) -> Tensor:
    """The sum of products over the last axes."""
    return torch.inner(*of_one_dtype(x1, x2))


@operation("Kron", tensors=2)
def kron(x1: Any, x2: Any) -> Tensor:
    """The Kronecker product: `x2` times each number of `x1`."""
    return torch.kron(*both(x1, x2))


@operation("Vdot", tensors=2)
def vdot(x1: Any, x2: Any) -> Tensor:
    """The sum of products of all numbers."""
    x1, x2 = of_one_dtype(x1, x2)
    return torch.sum(x1.flatten().conj() * x2.flatten()).to(x1.dtype)


@operation("Correlate", tensors=2)
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Tensor:
    """The sum of products of two sequences for each shift: "valid" where they overlap wholly, "same", or "full"."""
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"correlate(mode={mode!r}): expected 'valid', 'same' or 'full'.")
    x1, x2 = of_one_dtype(floating(x1), floating(x2))
    long, short = len(x1), len(x2)
    full = torch.nn.functional.conv1d(torch.nn.functional.pad(x1, (short - 1, short - 1))[None, None], x2[None, None])[0, 0]
    if mode == "full":
        return full
    if mode == "same":
        size = max(long, short)
        start = (len(full) - size) // 2 if long >= short else (len(full) - size + 1) // 2
        return full[start : start + size]
    edge = min(long, short) - 1
    return full[edge : len(full) - edge]


@operation("Vander")
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each number as a row, falling unless told."""
    x = as_tensor(x)
    found = torch.vander(x, N=N, increasing=increasing)
    return found.to(x.dtype)


__all__ = [
    "cdist",
    "cholesky",
    "cholesky_inverse",
    "correlate",
    "cross",
    "det",
    "eig",
    "eigh",
    "inner",
    "inv",
    "kron",
    "logdet",
    "lstsq",
    "lu_factor",
    "matrix_rank",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "vander",
    "vdot",
]
