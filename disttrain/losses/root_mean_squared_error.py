"""Root mean squared error, of each sample."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import aligned


def root_mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`sqrt(mean((y_true - y_pred)**2))` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("root_mean_squared_error", y_true, y_pred)
    error = targets - outputs
    length: Tensor = torch.linalg.vector_norm(error, dim=-1)  # whose gradient is 0 where there is no error, not NaN
    return length / math.sqrt(error.shape[-1])


class RootMeanSquaredError(PointwiseLoss):
    """The root of the mean of squared differences over the last axis: one for each sample, then their mean.

    Keras has no such loss. The root over the *batch* is no mean over samples, so it would depend on how a batch is cut into slices:
    that is the metric of this name. For an output of one number a sample's root is the absolute difference; to make the root over the
    batch small, take `MeanSquaredError`, whose minimum is the same, and watch the metric.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; the root is taken of the mean over all of them.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> float(RootMeanSquaredError()([[0.0, 0.0], [0.0, 0.0]], [[1.0, 7.0], [3.0, 3.0]]))
        4.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "root_mean_squared_error",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return root_mean_squared_error(y_true, y_pred)
