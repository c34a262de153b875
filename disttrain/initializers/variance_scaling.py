"""Draws whose variance follows from the number of inputs and outputs of the weight: the Glorot, He and LeCun families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from disttrain.initializers.initializer import RandomInitializer

Axes = Sequence[int] | None

_TRUNCATED_STDDEV = 0.87962566103423978  # of a standard normal cut off at 2; dividing by it restores a variance of 1


class VarianceScaling(RandomInitializer):
    """Variance `scale / n`, where n is the number of inputs, of outputs, or their mean.

    Args:
        scale: more than 0.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (corrected for the cut; "normal" is the same), "untruncated_normal" or "uniform".
        seed: see `RandomInitializer`.
        input_axes, output_axes: the axes of the weight that are inputs, and outputs, where Keras's layout does not say so; give both.

    Example:
        >>> VarianceScaling(scale=3.0, distribution="uniform", seed=1)((100, 20)).abs().max() <= 0.3
        tensor(True)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed)
        if not scale > 0.0:
            raise ValueError(f"VarianceScaling(scale={scale!r}): Argument `scale` must be positive float.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling: Invalid `mode` argument: {mode!r}. Expected 'fan_in', 'fan_out' or 'fan_avg'.")
        chosen = "truncated_normal" if distribution.lower() == "normal" else distribution.lower()
        if chosen not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"VarianceScaling: Invalid `distribution` argument: {distribution!r}. "
                "Expected 'truncated_normal', 'untruncated_normal' or 'uniform'."
            )
        self.scale, self.mode, self.distribution = scale, mode, chosen
        self.input_axes = None if input_axes is None else list(input_axes)
        self.output_axes = None if output_axes is None else list(output_axes)

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "truncated_normal":
            return self._truncated(shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV, dtype)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, 0.0, math.sqrt(variance), dtype)
        limit = math.sqrt(3.0 * variance)
        return self._uniform(shape, -limit, limit, dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
        return {**super().get_config(), **own, "input_axes": self.input_axes, "output_axes": self.output_axes}


class _Named(VarianceScaling):
    """A `VarianceScaling` of a name of its own, whose config holds the seed and the axes alone."""

    _choice: ClassVar[tuple[float, str, str]]  # scale, mode, distribution

    def __init__(self, seed: int | None = None, input_axes: Axes = None, output_axes: Axes = None) -> None:
        super().__init__(*self._choice, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(_Named):
    """Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010, eq. 16)."""

    _choice = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """Truncated normal of variance `2 / (fan_in + fan_out)` (Glorot & Bengio 2010)."""

    _choice = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Named):
    """Uniform within `sqrt(6 / fan_in)` (He et al. 2015)."""

    _choice = (2.0, "fan_in", "uniform")


class HeNormal(_Named):
    """Truncated normal of variance `2 / fan_in` (He et al. 2015, eq. 10)."""

    _choice = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform within `sqrt(3 / fan_in)` (LeCun et al. 1998)."""

    _choice = (1.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal of variance `1 / fan_in` (LeCun et al. 1998)."""

    _choice = (1.0, "fan_in", "truncated_normal")


def compute_fans(shape: Sequence[int], input_axes: Axes = None, output_axes: Axes = None) -> tuple[int, int]:
    """(inputs, outputs) of a weight in Keras's layout: the last axis is the output, the one before the input, the rest the receptive field.

    With both `input_axes` and `output_axes`, the products of the sizes of those.

    Example:
        >>> compute_fans((3, 3, 16, 32))
        (144, 288)
        >>> compute_fans((16, 4, 8), input_axes=[0], output_axes=[1, 2])
        (16, 32)
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(int(shape[axis]) for axis in input_axes), math.prod(int(shape[axis]) for axis in output_axes)
    if len(shape) < 2:
        return (1, 1) if not shape else (int(shape[0]), int(shape[0]))
    field = math.prod(shape[:-2])
    return int(shape[-2] * field), int(shape[-1] * field)
