"""The logarithm of the hyperbolic cosine of the error."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import aligned


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(log(cosh(y_pred - y_true)))` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("log_cosh", y_true, y_pred)
    error = outputs - targets
    return (error + functional.softplus(-2.0 * error) - math.log(2.0)).mean(-1)  # the same without the overflow of cosh


class LogCosh(PointwiseLoss):
    """`log(cosh(e))`, mean over the last axis: about `e**2 / 2` near zero, `|e| - log(2)` far from it.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Green 1990.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> round(float(LogCosh()([[0.0, 0.0]], [[0.0, 1.0]])), 4)  # log(cosh(1)) / 2
        0.2169
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return log_cosh(y_true, y_pred)
