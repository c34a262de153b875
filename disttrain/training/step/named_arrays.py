"""Tensors as the checkpoint engine takes them, of every dtype that torch computes with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from disttrain.checkpoint import NamedArray, TensorSpec
from disttrain.host_numbers import bytes_of

DTYPE_NAMES = {
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
    torch.complex128: "C128",
    torch.complex32: "C32",
    torch.complex64: "C64",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.uint8: "U8",
}
_BY_NAME = {name: dtype for dtype, name in DTYPE_NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as checkpoints call it.

    Raises:
        ValueError: quantized, sub-byte and other kinds that torch itself does not compute with.
    """
    known = DTYPE_NAMES.get(dtype)
    if known is None:
        names = ", ".join(sorted(str(known).removeprefix("torch.") for known in DTYPE_NAMES))
        raise ValueError(
            f"a tensor of {dtype} cannot be kept in a checkpoint.\n  expected  {names}\n  try       .view(torch.uint8), or .dequantize()"
        )
    return known


def spec_of(name: str, tensor: Tensor) -> TensorSpec:
    """What the checkpoint engine knows of a tensor before it has its bytes."""
    return TensorSpec(name, dtype_name(tensor.dtype), tuple(tensor.shape))


def named_array(tensor: Tensor) -> NamedArray:
    """A tensor as the checkpoint engine takes it; CPU memory is shared, not copied."""
    return NamedArray(dtype_name(tensor.dtype), tuple(tensor.shape), bytes_of(tensor.cpu()).numpy())


def as_tensor(array: NamedArray) -> Tensor:
    """The inverse of `named_array`."""
    dtype, data = _BY_NAME[array.dtype], np.ascontiguousarray(array.data)
    return torch.frombuffer(data, dtype=dtype).reshape(array.shape) if data.size else torch.empty(array.shape, dtype=dtype)
