"""Rescaling of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Rescaling(Layer):
    """`x * scale + offset`; integers become floats first. `Rescaling(1 / 255)` makes an image of bytes one from 0 to 1.

    Args:
        scale, offset: a number each, or a list of one for each channel, channels last.

    Input and output shape: any, the same.

    Raises:
        ValueError: a `scale` or `offset` that is neither a number nor a list of them.

    Example:
        >>> import torch
        >>> Rescaling(1 / 127.5, offset=-1)(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = _numbers(scale, "scale"), _numbers(offset, "offset")

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs.to(self._compute_dtype)
        y: Tensor = x * self._like(self.scale, x) + self._like(self.offset, x)
        return y

    def _like(self, value: Any, x: Tensor) -> Any:
        return value if isinstance(value, int | float) else on_device(value, x.device, x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


def _numbers(value: Any, argument: str) -> Any:
    """`value` as Python numbers: one, or nested lists of them."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"Rescaling({argument}={value!r}): expected a number, or a list of one for each channel.")
    return array.tolist()
