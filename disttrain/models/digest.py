"""One number for the weights of a model; the same as that of a checkpoint that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.checkpoint import NamedArray
from disttrain.checkpoint import weights_digest as digest_of_arrays
from disttrain.training.step.named_arrays import named_array


def weights_digest(pairs: Iterable[tuple[str, Any]]) -> str:
    """sha256, 64 hex digits, over (name, tensor or array) in any order: names, dtypes, shapes and every bit.

    Example:
        >>> import torch
        >>> weights_digest([("w", torch.zeros(1))]) == weights_digest([("w", np.zeros(1, np.float32))])
        True
    """
    return digest_of_arrays({name: as_array(value) for name, value in pairs})


def as_array(value: Any) -> NamedArray:
    """A tensor, of whatever dtype and device, or an array as what checkpoints keep."""
    if isinstance(value, NamedArray):
        return value
    if not isinstance(value, Tensor):
        return NamedArray.from_numpy(np.asarray(value))
    return named_array(value)
