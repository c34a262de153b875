"""Mean squared error."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from disttrain.losses.base import Loss
from disttrain.losses.shapes import aligned
from disttrain.losses.targets import check_finite, check_same_shape


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((y_true - y_pred)**2)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_squared_error", y_true, y_pred)
    return (targets - outputs).square().mean(-1)


class MeanSquaredError(Loss):
    """Mean of squared differences over the last axis.

    Args:
        reduction, name: see `Loss`.

    Example:
        >>> float(MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]]))
        2.0
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "mean_squared_error") -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_squared_error(y_true, y_pred)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        check_same_shape(self.name, y, output_shape)
        check_finite(self.name, y)
