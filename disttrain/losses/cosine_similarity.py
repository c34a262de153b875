"""Cosine of the angle between prediction and target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import EPSILON, aligned


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """*Minus* the cosine of the angle between the vectors along `axis`: `(n, d) -> (n,)`. See `CosineSimilarity`."""
    targets, outputs = aligned("cosine_similarity", y_true, y_pred, vector_is_batch=False)
    targets, outputs = functional.normalize(targets, dim=axis, eps=EPSILON), functional.normalize(outputs, dim=axis, eps=EPSILON)
    return -(targets * outputs).sum(axis)


class CosineSimilarity(PointwiseLoss):
    """Minus the cosine of the angle between prediction and target: -1 for the same direction, 1 for the opposite, 0 for a vector of zeros.

    Args:
        axis: the axis that the vectors lie along.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values without `axis`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, an `axis` that they lack, or a target that is not finite.

    Example:
        >>> round(float(CosineSimilarity()([[1.0, 0.0]], [[3.0, 4.0]])), 4)
        -0.6
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return cosine_similarity(y_true, y_pred, self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
