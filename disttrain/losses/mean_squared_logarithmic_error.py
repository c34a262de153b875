"""Mean squared error of logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import EPSILON, aligned
from disttrain.losses.targets import check_range


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((log(y_true + 1) - log(y_pred + 1))**2)` over the last axis, both at least 1e-7: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_squared_logarithmic_error", y_true, y_pred)
    return (outputs.clamp(min=EPSILON).log1p() - targets.clamp(min=EPSILON).log1p()).square().mean(-1)


class MeanSquaredLogarithmicError(PointwiseLoss):
    """Mean of squared differences of `log(y + 1)` over the last axis, for numbers of 0 or more; smaller ones count as 1e-7.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> import math
        >>> round(float(MeanSquaredLogarithmicError()([[math.e - 1.0]], [[math.e**3 - 1.0]])), 4)
        4.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_squared_logarithmic_error(y_true, y_pred)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        super().check_targets(y, output_shape)
        check_range(self.name, y, 0, float("inf"), "numbers of 0 or more: the logarithm of y + 1 is taken")
