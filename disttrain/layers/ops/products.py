"""Products of matrices and tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.ops.operation import DECLARED, Declared, Operation, as_tensor, both, of_one_dtype, operation
from disttrain.layers.symbolic import has_symbolic


@operation("Matmul", tensors=2)
def matmul(x1: Any, x2: Any) -> Tensor:
    """The product of matrices in the last two axes; a vector is a row or a column as fits."""
    return torch.matmul(*of_one_dtype(x1, x2))


@operation("Dot", tensors=2)
def dot(x1: Any, x2: Any) -> Tensor:
    """NumPy's dot product: over the last axis of `x1` and the last but one of `x2`."""
    x1, x2 = of_one_dtype(x1, x2)
    if x1.ndim == 0 or x2.ndim == 0:
        return torch.multiply(x1, x2)
    return torch.tensordot(x1, x2, dims=([-1], [0 if x2.ndim == 1 else -2]))  # type: ignore[no-any-return]


@operation("Outer", tensors=2)
def outer(x1: Any, x2: Any) -> Tensor:
    """Every product of a number of `x1` with one of `x2`."""
    x1, x2 = both(x1, x2)
    return torch.outer(x1.flatten(), x2.flatten())


@operation("Tensordot", tensors=2)
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Tensor:
    """The sum of products over `axes`: how many, the last of `x1` with the first of `x2`; or a pair of lists of them."""
    x1, x2 = both(x1, x2)
    pair = [[axis] if isinstance(axis, int) else list(axis) for axis in axes] if isinstance(axes, list | tuple) else axes
    return torch.tensordot(x1, x2, dims=pair)  # type: ignore[no-any-return]


def _einsum(*operands: Any, subscripts: str) -> Tensor:
    tensors = [as_tensor(operand) for operand in operands]
    return torch.einsum(subscripts, *tensors)


DECLARED["Einsum"] = Declared("Einsum", "keras.src.ops.numpy", _einsum, ("operands",), ("subscripts",), spread=True)


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """Einstein's sum of products: `einsum("ij,jk->ik", a, b)` is `a @ b`."""
    if has_symbolic(operands, {}):
        return Operation("Einsum", {"subscripts": subscripts})(*operands)  # type: ignore[no-any-return]
    return _einsum(*operands, subscripts=subscripts)


__all__ = [
    "dot",
    "einsum",
    "matmul",
    "outer",
    "tensordot",
]
