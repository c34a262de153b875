"""Rectified linear unit with learned slopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.activation.pointwise import Pointwise
from disttrain.layers.core.weight_settings import add_configured, keep_settings, settings_config
from disttrain.layers.symbolic import Shape


class PReLU(Pointwise):
    """`x` above 0, `alpha * x` below, with an `alpha` for each place of a sample that is learned (He et al. 2015).

    Args:
        alpha_initializer, alpha_regularizer, alpha_constraint: of the slopes.
        shared_axes: axes along which the slope is the same, such as `[1, 2]` for one slope per channel of an image. The batch is axis 0.

    Weights: `alpha`, of the shape of a sample with 1 for shared axes, zeros.

    Raises:
        ValueError: `shared_axes` that name the batch; an input without those axes, or whose size along an axis that is not shared is
            unknown.
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        keep_settings(self, alpha=(alpha_initializer, alpha_regularizer, alpha_constraint))
        axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes
        if axes is not None and not (isinstance(axes, list | tuple) and all(isinstance(axis, int) and axis for axis in axes)):
            raise ValueError(f"PReLU(shared_axes={shared_axes!r}): expected axes other than 0, which is the batch, or None.")
        self.shared_axes = None if axes is None else list(axes)

    def build(self, input_shape: Shape) -> None:
        rank, shared = len(input_shape), self.shared_axes or []
        if any(not -rank < axis < rank for axis in shared):
            raise ValueError(f"{self._described()}: got an input of shape {tuple(input_shape)}, which has not all axes of {shared}.")
        sizes = [1 if axis in shared or axis - rank in shared else size for axis, size in enumerate(input_shape)][1:]
        if None in sizes:
            raise ValueError(
                f"{self._described()}: got an input of shape {tuple(input_shape)}; "
                "the slope along an axis of unknown size must be shared.\n"
                f"  try  shared_axes={[axis for axis in range(1, rank) if input_shape[axis] is None]}"
            )
        self.alpha = add_configured(self, "alpha", [size for size in sizes if size is not None])

    def call(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs > 0, inputs, self.alpha * inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **settings_config(self, "alpha"), "shared_axes": self.shared_axes}
