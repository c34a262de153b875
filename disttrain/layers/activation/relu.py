"""Rectified linear units."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain import activations
from disttrain.layers.activation.pointwise import Pointwise, number


class ReLU(Pointwise):
    """`x` above `threshold`, up to `max_value`; `negative_slope * (x - threshold)` below: `activations.relu` as a layer.

    Source: Nair & Hinton 2010.

    Raises:
        ValueError: an argument that is no number, or below 0 where it must not be.

    Example:
        >>> import torch
        >>> ReLU(max_value=4.0, negative_slope=0.5)(torch.tensor([-2.0, 1.0, 9.0]))
        tensor([-1.,  1.,  4.])
    """

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value if max_value is None else number(max_value, "max_value", "ReLU")
        self.negative_slope = number(negative_slope, "negative_slope", "ReLU")
        self.threshold = number(threshold, "threshold", "ReLU")

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        own = {"max_value": self.max_value, "negative_slope": self.negative_slope, "threshold": self.threshold}
        return {**super().get_config(), **own}


class LeakyReLU(Pointwise):
    """`x` from 0 on, `negative_slope * x` below; the slope is 0.3 here and 0.01 in torch. `alpha` is its older name.

    Source: Maas, Hannun & Ng 2013.

    Raises:
        ValueError: an argument that is no number, or below 0 where it must not be.

    Example:
        >>> import torch
        >>> LeakyReLU(negative_slope=0.5)(torch.tensor([-10.0, 5.0]))
        tensor([-5.,  5.])
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)
        super().__init__(**kwargs)
        self.negative_slope = number(negative_slope, "negative_slope", "Leaky ReLU")

    def call(self, inputs: Tensor) -> Tensor:
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}
