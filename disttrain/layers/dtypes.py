"""dtype names, as Keras writes them, and torch's dtypes."""

from __future__ import annotations

import difflib
from typing import Any

import torch

DTYPES: dict[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "bool": torch.bool,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "int8": torch.int8,
    "uint8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` -> `"float32"`."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def standard_dtype(dtype: Any, argument: str = "dtype") -> str:
    """A name from a name, a torch dtype, or Keras's DTypePolicy config; None is float32.

    Raises:
        ValueError: an unknown name, or a mixed-precision policy.
    """
    if dtype is None:
        return "float32"
    if isinstance(dtype, torch.dtype):
        return dtype_name(dtype)
    if isinstance(dtype, dict) and dtype.get("class_name") == "DTypePolicy":
        dtype = (dtype.get("config") or {}).get("name")
    if dtype in DTYPES:
        return str(dtype)
    if isinstance(dtype, str) and dtype.startswith("mixed_"):
        raise ValueError(f"{argument}={dtype!r}: mixed precision is not supported by layers.\n  try  torch.autocast around the call")
    nearest = difflib.get_close_matches(str(dtype), DTYPES, n=len(DTYPES), cutoff=0.0)
    raise ValueError(f"{argument}={dtype!r}: no such dtype.\n  expected  one of {', '.join(nearest)}, nearest first")
