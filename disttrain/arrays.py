"""Arrays, lists and numbers where a tensor is expected."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.mixed_precision import DTYPES
from disttrain.mixed_precision import get as policy

F = TypeVar("F", bound=Callable[..., Any])


def as_tensor(value: Any, beside: Any = None) -> Tensor:
    """`value` as a tensor, on the device of the tensor `beside` it. As in Keras, Python's integers are int32 and its floats float32."""
    if isinstance(value, Tensor):
        return value
    device = beside.device if isinstance(beside, Tensor) else None
    if isinstance(beside, Tensor) and beside.is_floating_point() and beside.ndim and type(value) in (int, float):
        return on_device(value, device, beside.dtype)  # what comes out has that dtype anyway
    if isinstance(value, bool):
        return on_device(value, device)
    if isinstance(value, int):
        return on_device(value, device, torch.int32 if -(2**31) <= value < 2**31 else torch.int64)
    if isinstance(value, float):
        return on_device(value, device, _floats())
    if isinstance(value, list | tuple) and _holds_tensors(value):
        return torch.stack([as_tensor(item, beside) for item in value])
    if isinstance(value, np.ndarray):
        return on_device(value, device)
    array = np.asarray(value)
    if array.dtype == np.float64 and not isinstance(value, np.generic):  # numbers of Python in lists
        return on_device(array, device, _floats())
    return on_device(array, device, torch.int32 if array.dtype == np.int64 else None)


def takes_arrays(function: F) -> F:
    """`function`, whose first argument beside `self` may be an array, a list or a number in place of a tensor."""
    if next(iter(inspect.signature(function).parameters)) == "self":

        @functools.wraps(function)
        def method(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            return function(self, x if isinstance(x, Tensor) else _given(x), *args, **kwargs)

        return method  # type: ignore[return-value]

    @functools.wraps(function)
    def wrapper(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Tensor):
            return function(x, *args, **kwargs)
        if hasattr(x, "node_of_function"):  # a symbolic tensor
            return x.node_of_function(function, inspect.signature(function).bind(x, *args, **kwargs))
        return function(_given(x), *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _given(value: Any) -> Any:
    """As a tensor; what is no number, such as a symbolic tensor, as it is."""
    return as_tensor(value) if isinstance(value, bool | int | float | list | tuple | np.ndarray | np.generic) else value


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(_holds_tensors(item) for item in value))


def _floats() -> torch.dtype:
    return DTYPES[policy(None).variable_dtype]
