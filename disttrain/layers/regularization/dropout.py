"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.context import current
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape
from disttrain.seeds import fold_in


class Dropout(Layer):
    """When training, zero a share `rate` of the inputs and scale the rest by `1 / (1 - rate)` (Srivastava et al. 2014).

    Args:
        rate: share that is zeroed, from 0 to 1; 1 gives zeros.
        noise_shape: shape of the mask, batch included; None in it is the input's size, 1 shares a decision along an axis.
        seed: sets this layer's masks apart from those of a layer with another seed. Masks come from the step and the slice
            of the batch in any case, never from a stream.

    Example:
        >>> import torch
        >>> Dropout(0.5)(torch.ones(3))  # inference
        tensor([1., 1., 1.])
    """

    def __init__(self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(f"Dropout(rate={rate!r}): expected a number from 0 to 1, the share that is zeroed.")
        self.rate, self.seed = rate, seed
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return inputs * dropout_mask(self, inputs, self.rate, self.noise_shape, self.seed)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}


def dropout_mask(
    layer: Layer, like: Tensor, rate: float, shape: Sequence[int | None] | None = None, seed: int | None = None
) -> Tensor:  # fmt: skip
    """A mask of 0 and `1 / (1 - rate)`, of the shape and dtype of `like` unless told, drawn for the next use by `layer`."""
    if shape is None:
        sizes = tuple(like.shape)
    else:
        if len(shape) != like.ndim:
            raise ValueError(f"noise_shape={tuple(shape)}: expected {like.ndim} axes, as the input of shape {tuple(like.shape)} has.")
        sizes = tuple(own if size is None else size for size, own in zip(shape, like.shape, strict=True))
    if rate >= 1:
        return like.new_zeros(sizes)
    stream = layer._layer_id if seed is None else fold_in(layer._layer_id, seed)
    generator = current().generator(stream, like.device)
    kept = torch.empty(sizes, dtype=like.dtype, device=like.device).bernoulli_(1.0 - rate, generator=generator)
    return kept.div_(1.0 - rate)
