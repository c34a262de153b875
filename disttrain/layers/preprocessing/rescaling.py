"""Rescaling of inputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Rescaling(Layer):
    """`x * scale + offset`; integers become floats first. `Rescaling(1 / 255)` makes an image of bytes one from 0 to 1.

    Args:
        scale, offset: a number each, or a list of one for each channel.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs.to(self._compute_dtype)
        y: Tensor = x * self._like(self.scale, x) + self._like(self.offset, x)
        return y

    def _like(self, value: Any, x: Tensor) -> Any:
        return value if isinstance(value, int | float) else x.new_tensor(value)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}
