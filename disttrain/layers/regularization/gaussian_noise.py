"""Gaussian noise, added."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers import randomness
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class GaussianNoise(Layer):
    """When training, add normal numbers of mean 0 and standard deviation `stddev`.

    Args:
        stddev: from 0 to 1, in units of the inputs.
        seed: sets this layer's noise apart from that of a layer with another seed.

    Input and output shape: any, the same.

    Source: Bishop 1995.

    Raises:
        ValueError: `stddev` outside of 0 to 1.
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(stddev, bool) or not isinstance(stddev, int | float) or not 0 <= stddev <= 1:
            raise ValueError(f"GaussianNoise(stddev={stddev!r}): expected a number from 0 to 1.")
        self.stddev, self.seed = stddev, seed

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        return inputs + normal(self, inputs, self.seed).mul_(self.stddev)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}


def normal(layer: Layer, like: Tensor, seed: int | None) -> Tensor:
    """Standard normal numbers of the shape of `like`, in the dtype of the layer's computation."""
    return randomness.normal(layer, like.shape, layer._compute_dtype, like.device, seed)
