"""What normalization layers have in common: `gamma` and `beta`, `epsilon`, axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.core.weight_settings import add_configured, keep_settings, settings_config
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class AffineNormalization(Layer):
    """Base of layers that give `gamma * normalized + beta`; output shape is input shape, a mask goes on to the output.

    Args:
        epsilon: added to what the root is taken of.
        center, scale: learn `beta`, learn `gamma`.
        beta, gamma: (initializer, regularizer, constraint) of each.
    """

    supports_masking = True

    def __init__(
        self, epsilon: float, center: bool, scale: bool, beta: Sequence[Any], gamma: Sequence[Any], **kwargs: Any
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.epsilon = checked_epsilon(epsilon, type(self).__name__)
        self.center, self.scale = bool(center), bool(scale)
        keep_settings(self, beta=beta, gamma=gamma)

    def _add_affine(self, shape: Sequence[int], *, scale: bool, center: bool) -> None:
        """`gamma` and `beta`, or None for each; under mixed precision they stay as they are kept."""
        self.gamma = add_configured(self, "gamma", shape, autocast=False) if scale else None
        self.beta = add_configured(self, "beta", shape, autocast=False) if center else None

    def _at_work(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(x, gamma, beta) in the dtype to compute in: float32 at least, as sums of squares overflow float16."""
        dtype = wide(x.dtype, self.gamma, self.beta)
        gamma, beta = (None if weight is None else weight.to(dtype) for weight in (self.gamma, self.beta))
        return x.to(dtype), gamma, beta

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"epsilon": self.epsilon, "center": self.center, "scale": self.scale}
        return {**super().get_config(), **own, **settings_config(self, "beta", "gamma")}


def wide(dtype: torch.dtype, *weights: Tensor | None) -> torch.dtype:
    """The widest of `dtype`, float32 and the dtypes of `weights`."""
    found = torch.promote_types(dtype, torch.float32)
    for weight in weights:
        found = found if weight is None else torch.promote_types(found, weight.dtype)
    return found


def checked_epsilon(epsilon: Any, owner: str) -> float:
    """`epsilon` as a float.

    Raises:
        ValueError: not a finite number of 0 or more.
    """
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 <= epsilon < math.inf:
        raise ValueError(f"{owner}(epsilon={epsilon!r}): expected a number, 0 or more.")
    return float(epsilon)


def checked_axes(axis: Any, owner: str) -> int | list[int]:
    """An axis, or a list of several.

    Raises:
        ValueError, TypeError: something else, or none.
    """
    several = list(axis) if isinstance(axis, list | tuple) else [axis]
    if not several or any(isinstance(item, bool) or not isinstance(item, int) for item in several):
        wrong = ValueError if isinstance(axis, list | tuple | int) else TypeError  # as in Keras
        raise wrong(f"{owner}(axis={axis!r}): Expected an int or a list/tuple of ints for the argument 'axis'.")
    return several if isinstance(axis, list | tuple) else int(axis)


def places_of(axis: int | Sequence[int], input_shape: Shape, described: str) -> list[int]:
    """Where the axes are in inputs of `input_shape`, counted from the front, in order.

    Raises:
        ValueError: there is no such axis, or it is named twice.
    """
    rank, axes = len(input_shape), [axis] if isinstance(axis, int) else list(axis)
    places = sorted({item % rank for item in axes if -rank <= item < rank})
    if len(places) != len(axes):
        raise ValueError(f"{described}: got an input of shape {input_shape}, where axis={axis} is out of range or named twice.")
    return places


def known_sizes(places: Sequence[int], input_shape: Shape, described: str) -> tuple[int, ...]:
    """The sizes of these axes.

    Raises:
        ValueError: one is not known.
    """
    sizes = tuple(size for size in (input_shape[place] for place in places) if size is not None)
    if len(sizes) != len(places):
        raise ValueError(
            f"{described}: axes {list(places)} of the input tensor should have a defined dimension "
            f"but the layer received an input with shape {input_shape}."
        )
    return sizes
