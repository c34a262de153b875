"""Dropout, and the masks that it and other layers draw."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.randomness import kept
from disttrain.layers.symbolic import Shape


class Dropout(Layer):
    """When training, zero a share `rate` of the inputs and scale the rest by `1 / (1 - rate)` (Srivastava et al. 2014).

    Args:
        rate: share that is zeroed, from 0 to 1; 1 gives zeros.
        noise_shape: shape of the mask, batch included; None in it is the input's size, 1 shares a decision along an axis.
        seed: sets this layer's masks apart from those of a layer with another seed. Masks come from the step and the slice
            of the batch in any case, never from a stream.

    Input and output shape: any, the same.

    Raises:
        ValueError: a `rate` outside of 0 to 1, or a `noise_shape` that does not fit the input.

    Example:
        >>> import torch
        >>> Dropout(0.5)(torch.ones(3))  # inference
        tensor([1., 1., 1.])
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = check_rate(rate, type(self).__name__), seed
        self.noise_shape = check_noise_shape(noise_shape, type(self).__name__)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return inputs * dropout_mask(self, inputs, self.rate, self.noise_shape, self.seed)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}


def check_rate(rate: Any, owner: str, one: bool = True) -> float:
    """`rate` as a Python number.

    Args:
        one: whether 1 is allowed.

    Raises:
        ValueError: not a number from 0 to 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ValueError(
            f"{owner}: Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
            f"Received: rate={rate!r}, expected a number from 0 to 1, the share that is dropped."
        )
    if rate == 1 and not one:
        raise ValueError(f"{owner}(rate={rate!r}): expected a number below 1; nothing would be left to scale.")
    return rate


def check_noise_shape(noise_shape: Any, owner: str) -> tuple[int | None, ...] | None:
    """`noise_shape` as a tuple of sizes of 1 or more and Nones, or None."""
    if noise_shape is None:
        return None
    wrong = ""
    sizes: tuple[int | None, ...] = ()
    if isinstance(noise_shape, str) or not isinstance(noise_shape, Iterable):
        wrong = "a tuple or list of integers"
    else:
        try:
            sizes = tuple(None if size is None else operator.index(size) for size in noise_shape)
        except TypeError:
            wrong = "all elements to be integers or None"
        if any(size is not None and size < 1 for size in sizes):
            wrong = "all dimensions to be positive integers or None"
    if wrong:
        raise ValueError(
            f"{owner}: Invalid value received for argument `noise_shape`. Expected {wrong}. Received: noise_shape={noise_shape!r}, "
            "expected a tuple with an integer of 1 or more, or None, for each axis."
        )
    return sizes


def dropout_mask(
    layer: Layer, like: Tensor, rate: float, shape: Sequence[int | None] | None = None, seed: int | None = None
) -> Tensor:  # fmt: skip
    """A mask of 0 and `1 / (1 - rate)`, of the shape and dtype of `like` unless told, drawn for the next use by `layer`."""
    mask = kept_mask(layer, like, rate, shape, seed)
    return mask if rate >= 1 else mask.div_(1.0 - rate)


def kept_mask(
    layer: Layer, like: Tensor, rate: float, shape: Sequence[int | None] | None = None, seed: int | None = None
) -> Tensor:  # fmt: skip
    """A mask of 0, a share `rate`, and 1, of the shape and dtype of `like` unless told, drawn for the next use by `layer`.

    Args:
        shape: of the mask, where None is the size that `like` has; other sizes are 1 or that of `like`.

    Raises:
        ValueError: a shape that does not fit that of `like`.
    """
    sizes: tuple[int, ...] = tuple(like.shape)
    if shape is not None:
        fits = len(shape) == like.ndim and all(size in (None, 1, own) for size, own in zip(shape, sizes, strict=True))
        if not fits:
            raise ValueError(
                f"{layer._described()}: noise_shape={tuple(shape)} does not fit an input of shape {sizes}: expected {like.ndim} sizes, "
                "each None, 1 or that of the input."
            )
        sizes = tuple(own if size is None else size for size, own in zip(shape, sizes, strict=True))
    if rate >= 1:
        return like.new_zeros(sizes)
    return kept(layer, sizes, rate, like.dtype, like.device, seed)
