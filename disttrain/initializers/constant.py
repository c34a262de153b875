"""Values that are not drawn: zeros, ones, a constant, the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from disttrain.initializers.initializer import Initializer


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.ones(tuple(shape), dtype=dtype)


class Constant(Initializer):
    """All `value`, a number; or an array of the weight's shape.

    Example:
        >>> Constant([1.0, 2.0])((2,)).tolist()
        [1.0, 2.0]
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        value = self.value.detach().cpu() if isinstance(self.value, Tensor) else torch.as_tensor(np.asarray(self.value))
        if value.numel() != 1 and tuple(value.shape) != tuple(shape):
            raise ValueError(
                f"Constant(value of shape {tuple(value.shape)})(shape={tuple(shape)}): "
                "Expected `shape` to be that of the value, or the value to be one number."
            )
        value = value.to(dtype)
        return (value.reshape(()) if value.numel() == 1 else value).expand(tuple(shape)).clone(memory_format=torch.contiguous_format)

    def get_config(self) -> dict[str, Any]:
        """The value as a number, or as Keras writes arrays."""
        if isinstance(self.value, np.ndarray | Tensor):
            array = self.value.detach().cpu().numpy() if isinstance(self.value, Tensor) else self.value
            return {"value": {"class_name": "__numpy__", "config": {"value": array.tolist(), "dtype": str(array.dtype)}}}
        return {"value": self.value.item() if isinstance(self.value, np.generic) else self.value}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        value = config.get("value", 0.0)
        if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
            value = np.array(value["config"]["value"], dtype=value["config"].get("dtype"))
        return cls(value)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) != 2:
            raise ValueError(f"Identity()(shape={tuple(shape)}): expected two axes.")
        return torch.eye(*shape, dtype=dtype).mul_(self.gain)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}
