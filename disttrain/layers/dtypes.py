"""dtype names, as Keras writes them, and torch's dtypes."""

from __future__ import annotations

from typing import Any

from disttrain import mixed_precision
from disttrain.mixed_precision import DTYPES, dtype_name

__all__ = ["DTYPES", "dtype_name", "standard_dtype"]


def standard_dtype(dtype: Any) -> str:
    """The name of a dtype of numbers from a name, a torch dtype or a config; None is that of the global policy's variables.

    Raises:
        ValueError: an unknown name; the valid ones are listed, nearest first.
    """
    return mixed_precision.get(dtype).variable_dtype
