"""Losses of the overlap of a region and its prediction: Dice and Tversky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.losses.base import Loss
from disttrain.losses.shapes import EPSILON, aligned
from disttrain.losses.targets import check_range, check_same_shape

Axes = int | Sequence[int] | None


def dice(y_true: Any, y_pred: Any, axis: Axes = None) -> Tensor:
    """`1 - 2 * sum(t * p) / (sum(t) + sum(p) + 1e-7)` over `axis`, or over everything. See `Dice`."""
    targets, outputs = aligned("dice", y_true, y_pred, vector_is_batch=False)
    both, true, predicted = _sums(targets, outputs, axis)
    return 1.0 - 2.0 * both / (true + predicted + EPSILON)


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axes = None) -> Tensor:
    """`1 - b / (b + alpha * sum(t * (1 - p)) + beta * sum((1 - t) * p) + 1e-7)`, `b = sum(t * p)`, over `axis`. See `Tversky`."""
    targets, outputs = aligned("tversky", y_true, y_pred, vector_is_batch=False)
    both, true, predicted = _sums(targets, outputs, axis)
    return 1.0 - both / (both + alpha * (true - both) + beta * (predicted - both) + EPSILON)


def _sums(targets: Tensor, outputs: Tensor, axis: Axes) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the products, of the targets and of the outputs."""
    dims = tuple(range(outputs.ndim)) if axis is None else axis if isinstance(axis, int) else tuple(axis)
    return (targets * outputs).sum(dims), targets.sum(dims), outputs.sum(dims)


class OverlapLoss(Loss):
    """Base of the losses of regions: targets from 0 to 1 of the output's shape."""

    def __init__(
        self,
        axis: Axes = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        axes = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        if any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
            raise ValueError(f"{type(self).__name__}(axis={axis!r}): expected axes such as (1, 2, 3), or None for all.")
        self.axis = axis if axis is None or isinstance(axis, int) else axes

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        check_same_shape(self.name, y, output_shape)
        check_range(self.name, y, 0, 1, "0 outside of the region and 1 inside")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dice(OverlapLoss):
    """`1 - 2 * sum(t * p) / (sum(t) + sum(p) + 1e-7)`, for regions `t` of zeros and ones.

    With `axis=None` the sums go over everything, samples too: one number for each slice of a batch, and a batch in V slices has the
    mean of V such numbers, which is not that of one. `axis=(1, 2, 3)` gives images a loss each, whose mean does not depend on V.

    Args:
        axis: the axes of the sums, None for all.
        reduction, name, dtype: see `Loss`; the order is Keras's.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values without the axes of the sums.

    Source: Dice 1945; as a loss: Milletari et al. 2016.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, an `axis` that is none.
        DataError: shapes that do not fit each other.

    Example:
        >>> float(Dice()([[1.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 1.0, 0.0]]))  # half of each lies in the other
        0.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Axes = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(axis, reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return dice(y_true, y_pred, self.axis)


class Tversky(OverlapLoss):
    """`1 - b / (b + alpha * m + beta * f + 1e-7)`: `b` of the region is found, `m = sum(t * (1 - p))` missed, `f = sum((1 - t) * p)` false.

    `alpha = beta = 0.5` is `Dice`, and as there `axis=None` gives one number for each slice. As in Keras's code `alpha` weighs what is
    missed; Keras's description, and Salehi et al. 2017, have it weigh what is false.

    Args:
        alpha, beta: see above, 0 or more.
        axis: the axes of the sums, None for all.
        reduction, name, dtype: see `Loss`; the order is Keras's.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values without the axes of the sums.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, an `axis` that is none, an `alpha` or `beta` below 0.
        DataError: shapes that do not fit each other.

    Example:
        >>> round(float(Tversky(alpha=1.0, beta=0.0)([[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]])), 4)  # 1 found, 1 missed
        0.5
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Axes = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(axis, reduction, name, dtype)
        if not (alpha >= 0.0 and beta >= 0.0):
            raise ValueError(f"Tversky(alpha={alpha!r}, beta={beta!r}): expected weights of 0 or more.")
        self.alpha, self.beta = alpha, beta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return tversky(y_true, y_pred, self.alpha, self.beta, self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}
