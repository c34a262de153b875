"""Tensors made from numbers and shapes, and what they are asked for: no nodes of graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, dtype_name, standard_dtype
from disttrain.layers.ops.operation import as_tensor
from disttrain.layers.symbolic import SymbolicTensor


def convert_to_tensor(x: Any, dtype: Any = None) -> Tensor:
    """Arrays, lists and numbers as a tensor; Python's floats are float32, its integers int32."""
    found = as_tensor(x)
    return found if dtype is None else found.to(DTYPES[standard_dtype(dtype)])


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values as an array."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)


def array(x: Any, dtype: Any = None) -> Tensor:
    """Arrays, lists and numbers as a tensor of their own."""
    return convert_to_tensor(x, dtype).clone()


def empty(shape: Any, dtype: Any = None) -> Tensor:
    """Zeros, so that no result depends on what memory held."""
    return zeros(shape, dtype)


def identity(n: int, dtype: Any = None) -> Tensor:
    """Ones in the diagonal, else zeros."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones up to diagonal `k`, zeros above it."""
    columns = N if M is None else M
    return (torch.arange(columns)[None, :] - torch.arange(N)[:, None] <= k).to(DTYPES[standard_dtype(dtype)])


def is_tensor(x: Any) -> bool:
    """Has it values, as a tensor of torch?"""
    return isinstance(x, Tensor)


def shape(x: Any) -> tuple[int | None, ...]:
    """The sizes; of a symbolic tensor None where one is not known."""
    return x.shape if isinstance(x, SymbolicTensor) else tuple(as_tensor(x).shape)


def ndim(x: Any) -> int:
    """The number of axes."""
    return len(shape(x))


def dtype(x: Any) -> str:
    """The dtype's name."""
    return x.dtype if isinstance(x, SymbolicTensor) else dtype_name(as_tensor(x).dtype)


def zeros(shape: Any, dtype: Any = None) -> Tensor:
    """Zeros."""
    return torch.zeros(shape, dtype=DTYPES[standard_dtype(dtype)])


def ones(shape: Any, dtype: Any = None) -> Tensor:
    """Ones."""
    return torch.ones(shape, dtype=DTYPES[standard_dtype(dtype)])


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One number everywhere."""
    return torch.full((shape,) if isinstance(shape, int) else tuple(shape), fill_value, dtype=DTYPES[standard_dtype(dtype)])


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones on diagonal `k`, else zeros."""
    columns = N if M is None else M
    rows = torch.arange(N)[:, None]
    return (torch.arange(columns)[None, :] - rows == k).to(DTYPES[standard_dtype(dtype)])


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """`start`, `start + step`, ... below `stop`; from 0 below `start` where it stands alone. int32 for integers."""
    numbers = (start, stop, step)
    whole = all(number is None or isinstance(number, int) for number in numbers)
    wanted = DTYPES[standard_dtype(dtype)] if dtype is not None else torch.int32 if whole else DTYPES[standard_dtype(None)]
    start, stop = (0, start) if stop is None else (start, stop)
    return torch.arange(start, stop, 1 if step is None else step, dtype=wanted)


def linspace(start: float, stop: float, num: int = 50, dtype: Any = None) -> Tensor:
    """`num` numbers at equal distances from `start` to `stop`, both included."""
    return torch.linspace(start, stop, num, dtype=DTYPES[standard_dtype(dtype)])


__all__ = [
    "arange",
    "array",
    "convert_to_numpy",
    "convert_to_tensor",
    "dtype",
    "empty",
    "eye",
    "full",
    "identity",
    "is_tensor",
    "linspace",
    "ndim",
    "ones",
    "shape",
    "tri",
    "zeros",
]
