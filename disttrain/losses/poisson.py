"""Loss of counts, under a Poisson distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import EPSILON, aligned
from disttrain.losses.targets import check_range


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(y_pred - y_true * log(y_pred + 1e-7))` over the last axis: `(n, d) -> (n,)`. See `Poisson`."""
    targets, outputs = aligned("poisson", y_true, y_pred)
    return (outputs - targets * (outputs + EPSILON).log()).mean(-1)


class Poisson(PointwiseLoss):
    """`p - t * log(p + 1e-7)`, mean over the last axis: minus the log-likelihood of the count `t` at the rate `p`, but for a constant.

    The rates must be more than 0: end the model with `"softplus"` or `"exponential"`.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Cameron & Trivedi 1986.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> round(float(Poisson()([[2.0]], [[4.0]])), 4)  # 4 - 2 * log(4)
        1.2274
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return poisson(y_true, y_pred)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        super().check_targets(y, output_shape)
        check_range(self.name, y, 0, float("inf"), "counts of 0 or more")
