"""What Keras's `config` and `backend` set for a whole program, and what of it can be set here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from disttrain import mixed_precision
from disttrain.layers.dtypes import DTYPES, dtype_name, standard_dtype
from disttrain.layers.geometry import default_data_format, set_default_data_format
from disttrain.layers.naming import auto_name
from disttrain.layers.symbolic import SymbolicTensor

_EPSILON = 1e-7


def backend() -> str:
    """Always "torch"."""
    return "torch"


def set_backend(backend: str) -> None:
    """Take "torch", the only one.

    Raises:
        ValueError: another one.
    """
    if backend != "torch":
        raise ValueError(f"set_backend({backend!r}): expected 'torch', which everything here is made of.")


def epsilon() -> float:
    """1e-7, the fuzz factor of losses, metrics and constraints."""
    return _EPSILON


def set_epsilon(value: float) -> None:
    """Take 1e-7.

    Raises:
        ValueError: another one: losses and metrics have it as a constant, so that results depend on no setting of a process.
    """
    if value != _EPSILON:
        raise ValueError(
            f"set_epsilon({value!r}) is not supported: losses and metrics use {_EPSILON} in every process of a run.\n"
            "  try  epsilon= of the optimizer or of the normalization layer that it is meant for"
        )


def floatx() -> str:
    """The dtype that floats have by default: that of the global policy's variables."""
    return standard_dtype(None)


def set_floatx(value: str) -> None:
    """Let layers that are made from now on keep weights and compute in this dtype.

    Raises:
        ValueError: something else than "bfloat16", "float16", "float32" or "float64".
    """
    if value not in ("bfloat16", "float16", "float32", "float64"):
        raise ValueError(f"set_floatx({value!r}): expected 'bfloat16', 'float16', 'float32' or 'float64'.")
    mixed_precision.set_dtype_policy(value)


def image_data_format() -> str:
    """What None means as `data_format` of layers: "channels_last" unless told."""
    return default_data_format()


def set_image_data_format(data_format: str) -> None:
    """Let None mean this as `data_format` of layers that are made from now on: "channels_last" or "channels_first"."""
    if data_format is None:
        raise ValueError("set_image_data_format(None): expected 'channels_last' or 'channels_first'.")
    set_default_data_format(data_format)


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype from a name, a torch or NumPy dtype, or a type of Python; None is `floatx()`."""
    if dtype is None:
        return floatx()
    if dtype in (int, float, bool, str):
        return {int: "int32", float: floatx(), bool: "bool", str: "string"}[dtype]
    if isinstance(dtype, type | np.dtype):
        return str(np.dtype(dtype).name)
    name = str(dtype).removeprefix("torch.")
    if name in ("uint16", "uint32", "uint64", "complex64", "complex128", "string", "float8_e4m3fn", "float8_e5m2"):
        return name
    return standard_dtype(dtype)


def is_float_dtype(dtype: Any) -> bool:
    """Is it a dtype of floats?"""
    return standardize_dtype(dtype).startswith(("float", "bfloat"))


def is_int_dtype(dtype: Any) -> bool:
    """Is it a dtype of integers?"""
    return standardize_dtype(dtype).startswith(("int", "uint"))


def is_keras_tensor(x: Any) -> bool:
    """Is it symbolic, as `Input` gives it?"""
    return isinstance(x, SymbolicTensor)


def get_uid(prefix: str = "") -> int:
    """How often it was asked for `prefix`, this time included; `clear_session` begins anew."""
    name = auto_name(prefix or "uid")
    tail = name.rpartition("_")[2]
    return int(tail) + 1 if tail.isdecimal() else 1


def result_type(*dtypes: Any) -> str:
    """The dtype of a result of these."""
    if not dtypes:
        raise ValueError("result_type(): expected at least one dtype.")
    names = [standardize_dtype(dtype) for dtype in dtypes]
    found = DTYPES[names[0]]
    for name in names[1:]:
        found = torch.promote_types(found, DTYPES[name])
    return dtype_name(found)


def enable_flash_attention() -> None:
    """Nothing to do: torch takes its fast kernels of attention wherever they fit."""


def is_flash_attention_enabled() -> None:
    """None, as in Keras: torch decides."""


def is_interactive_logging_enabled() -> bool:
    """True: `fit` draws a bar unless `verbose` says otherwise."""
    return True


def enable_interactive_logging() -> None:
    """Nothing to do: it is."""


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks are whole."""
    return False


def disable_traceback_filtering() -> None:
    """Nothing to do: tracebacks are whole."""


def is_nnx_enabled() -> bool:
    """False: there is no JAX here."""
    return False
