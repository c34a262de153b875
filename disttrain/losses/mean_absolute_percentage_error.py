"""Mean absolute error in percent of the target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import EPSILON, aligned


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """`100 * mean(|y_true - y_pred| / max(|y_true|, 1e-7))` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_absolute_percentage_error", y_true, y_pred)
    return 100.0 * ((targets - outputs) / targets.abs().clamp(min=EPSILON)).abs().mean(-1)


class MeanAbsolutePercentageError(PointwiseLoss):
    """Mean of absolute differences over the last axis, each in percent of its target.

    A target of 0 counts as 1e-7, which makes an ordinary difference an enormous loss.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> float(MeanAbsolutePercentageError()([[4.0, -2.0]], [[3.0, -2.0]]))
        12.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_absolute_percentage_error(y_true, y_pred)
