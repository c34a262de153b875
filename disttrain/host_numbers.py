"""Numbers of the host as tensors on a device, without making the host wait; and tensors as arrays of the host, whatever their dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LACKED = frozenset(
    (
        torch.bfloat16,
        torch.complex32,
        torch.float8_e4m3fn,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2,
        torch.float8_e5m2fnuz,
        torch.float8_e8m0fnu,
    )
)
"""The dtypes of torch's numbers that NumPy has not."""


def on_device(numbers: Any, device: torch.device | None, dtype: torch.dtype | None = None) -> Tensor:
    """`numbers` (a number, lists, an array or a tensor) as `torch.as_tensor` gives them on `device`.

    To CUDA a copy from pageable memory waits for all that the device has been given to do. So single numbers are filled in by a kernel, and
    others leave from pinned memory.
    """
    if device is None or device.type == "cpu" or (isinstance(numbers, Tensor) and numbers.device == device):
        return torch.as_tensor(numbers, dtype=dtype, device=device)
    if isinstance(numbers, bool | int | float) and not isinstance(numbers, np.generic):
        return torch.full((), numbers, dtype=dtype or torch.as_tensor(numbers).dtype, device=device)
    there = torch.as_tensor(numbers, dtype=dtype)
    if device.type == "cuda" and there.device.type == "cpu":
        there = there.pin_memory()
    return there.to(device, non_blocking=device.type == "cuda")


def bytes_of(tensor: Tensor) -> Tensor:
    """The bytes of a tensor in C order, on its device; not copied where it lies so already."""
    return tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def plain(tensor: Tensor) -> NDArray[Any]:
    """A tensor as a NumPy array, bit for bit; not copied where it lies in the host's memory.

    Where NumPy lacks the dtype, the array has records of one field, raw bytes, whose name is that of the dtype: `tensor_of` reads it, and
    nobody takes them for numbers.

    Example:
        >>> plain(torch.ones(2, dtype=torch.bfloat16)).dtype.names
        ('bfloat16',)
    """
    values = tensor.detach().cpu().resolve_conj().resolve_neg()
    if values.dtype not in LACKED:
        return values.numpy()
    name = str(values.dtype).removeprefix("torch.")
    return bytes_of(values).numpy().view([(name, f"V{values.itemsize}")]).reshape(tuple(values.shape))


def readable(tensor: Tensor) -> NDArray[Any]:
    """A tensor as a NumPy array of numbers, for people and pictures: in float32, or complex64, where NumPy lacks the dtype."""
    values = tensor.detach().cpu()
    if values.dtype in LACKED:
        values = values.to(torch.complex64 if values.is_complex() else torch.float32)
    return values.resolve_conj().resolve_neg().numpy()


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The inverse of `plain`; not copied where the array may be written."""
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()
    if array.dtype.names is None:
        return torch.from_numpy(array)
    dtype: torch.dtype = getattr(torch, array.dtype.names[0])
    if not array.size:
        return torch.empty(array.shape, dtype=dtype)
    return torch.from_numpy(array.reshape(-1).view(np.uint8)).view(dtype).reshape(array.shape)
