"""A penalty on what passes through."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain import regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class ActivityRegularization(Layer):
    """Hand the inputs on, and add `(l1 * sum(|x|) + l2 * sum(x**2)) / batch` to the loss.

    Args:
        l1, l2: factors, 0 or more.

    Input and output shape: any, the same.

    Source: for sparse activities: Olshausen & Field 1996.

    Raises:
        ValueError: `l1` or `l2` is no number, or below 0.
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return {**config, "l1": self.l1, "l2": self.l2}
