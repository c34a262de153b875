"""Mean absolute error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import aligned


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(|y_true - y_pred|)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_absolute_error", y_true, y_pred)
    return (targets - outputs).abs().mean(-1)


class MeanAbsoluteError(PointwiseLoss):
    """Mean of absolute differences over the last axis.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> float(MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]]))
        1.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_absolute_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        targets, outputs = aligned(self.name, y_true, y_pred)
        return functional.l1_loss(outputs, targets)
