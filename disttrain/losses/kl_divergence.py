"""Kullback-Leibler divergence of predicted from true distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import EPSILON, aligned
from disttrain.losses.targets import check_range


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """`sum(y_true * log(y_true / y_pred))` over the last axis, both clipped to `[1e-7, 1]`: `(n, d) -> (n,)`."""
    targets, outputs = aligned("kl_divergence", y_true, y_pred, vector_is_batch=False)
    targets = targets.clamp(EPSILON, 1.0)
    values: Tensor = torch.special.xlogy(targets, targets / outputs.clamp(EPSILON, 1.0)).sum(-1)
    return values


class KLDivergence(PointwiseLoss):
    """`sum(t * log(t / p))` over the last axis; probabilities are clipped to `[1e-7, 1]`, and not scaled to sum 1.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Kullback & Leibler 1951.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> round(float(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]])), 4)  # 0.5 * log(2) + 0.5 * log(2 / 3)
        0.1438
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return kl_divergence(y_true, y_pred)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        super().check_targets(y, output_shape)
        check_range(self.name, y, 0, 1, "probabilities")
