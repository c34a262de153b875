"""Gaussian noise, multiplied."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import check_rate
from disttrain.layers.regularization.gaussian_noise import normal
from disttrain.layers.symbolic import Shape


class GaussianDropout(Layer):
    """When training, multiply by normal numbers of mean 1 and the variance of dropout's mask, `rate / (1 - rate)` (Srivastava et al. 2014).

    Args:
        rate: from 0 to below 1.
        seed: sets this layer's noise apart from that of a layer with another seed.

    Input and output shape: any, the same.

    Raises:
        ValueError: a `rate` outside of 0 to 1, or 1 itself.
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = check_rate(rate, "GaussianDropout", one=False), seed

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        stddev = math.sqrt(self.rate / (1.0 - self.rate))
        return inputs * normal(self, inputs, self.seed).mul_(stddev).add_(1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
