"""Dropout beside SELU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import check_noise_shape, check_rate, kept_mask
from disttrain.layers.symbolic import Shape

_SATURATION = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946  # what SELU gives for -infinity


class AlphaDropout(Layer):
    """When training, put SELU's least value in place of a share `rate` of the inputs; mean 0 and variance 1 stay (Klambauer et al. 2017).

    `y = a * (x or s) + b` with `s = -alpha * scale` of SELU, `a = ((1 - rate) * (1 + rate * s**2)) ** -0.5` and `b = -a * s * rate`.

    Args:
        rate: share that is replaced, from 0 to below 1.
        noise_shape: shape of the mask, batch included; None in it is the input's size, 1 shares a decision along an axis.
        seed: sets this layer's masks apart from those of a layer with another seed.

    Input and output shape: any, the same.

    Raises:
        ValueError: a `rate` outside of 0 to 1, or 1 itself; a `noise_shape` that does not fit the input.
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = check_rate(rate, "AlphaDropout", one=False), seed
        self.noise_shape = check_noise_shape(noise_shape, "AlphaDropout")

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        a = ((1 - self.rate) * (1 + self.rate * _SATURATION**2)) ** -0.5
        b = -a * _SATURATION * self.rate
        kept = kept_mask(self, inputs, self.rate, self.noise_shape, self.seed)
        replaced = (1 - kept).mul_(a * _SATURATION).add_(b)
        return torch.addcmul(replaced, inputs, kept.mul_(a))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}
