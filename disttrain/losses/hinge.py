"""Hinge losses: a margin of 1 between right and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import aligned


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y_true * y_pred, 0))` over the last axis: `(n, d) -> (n,)`. See `Hinge`."""
    targets, outputs = aligned("hinge", y_true, y_pred)
    return torch.relu(1.0 - _signs(targets) * outputs).mean(-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y_true * y_pred, 0)**2)` over the last axis: `(n, d) -> (n,)`. See `SquaredHinge`."""
    targets, outputs = aligned("squared_hinge", y_true, y_pred)
    return torch.relu(1.0 - _signs(targets) * outputs).square().mean(-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`max(1 + wrong - right, 0)` over the last axis: `(n, classes) -> (n,)`. See `CategoricalHinge`."""
    targets, outputs = aligned("categorical_hinge", y_true, y_pred, vector_is_batch=False)
    right, wrong = (targets * outputs).sum(-1), ((1.0 - targets) * outputs).amax(-1)
    return torch.relu(wrong - right + 1.0)


def _signs(targets: Tensor) -> Tensor:
    """-1 and 1 for 0 and 1, where there is nothing else; decided on the device, so that no step waits for it."""
    binary = ((targets == 0) | (targets == 1)).all()
    return torch.where(binary, 2.0 * targets - 1.0, targets)


class _SignLoss(PointwiseLoss):
    """Base of the losses of targets -1 and 1, or 0 and 1."""

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        super().check_targets(y, output_shape)
        if not (((y == -1) | (y == 1)).all() or ((y == 0) | (y == 1)).all()):
            found = np.unique(y)
            few = ", ".join(str(value) for value in found[:5].tolist()) + (", ..." if len(found) > 5 else "")
            raise DataError(
                f"{self.name}: y holds {few}.\n"
                "  expected  -1 and 1 throughout, or 0 and 1 throughout: 0 and 1 count as -1 and 1 where a slice of the batch\n"
                "            holds nothing else, so that a mixture would depend on how batches are cut"
            )


class Hinge(_SignLoss):
    """`max(1 - t * p, 0)`, mean over the last axis, for targets -1 and 1. Targets 0 and 1 count as -1 and 1.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Cortes & Vapnik 1995.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or targets other than -1, 0 and 1.

    Example:
        >>> float(Hinge()([[1.0], [-1.0]], [[0.5], [0.5]]))  # 0.5 and 1.5
        1.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return hinge(y_true, y_pred)


class SquaredHinge(_SignLoss):
    """`max(1 - t * p, 0)**2`, mean over the last axis, for targets as in `Hinge`.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Cortes & Vapnik 1995.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or targets other than -1, 0 and 1.

    Example:
        >>> float(SquaredHinge()([[1.0], [-1.0]], [[0.5], [0.5]]))  # 0.25 and 2.25
        1.25
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return squared_hinge(y_true, y_pred)


class CategoricalHinge(PointwiseLoss):
    """`max(1 + wrong - right, 0)`: the output of the right class, `sum(t * p)`, beside the largest other, `max((1 - t) * p)`.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` (one-hot or probabilities) and `y_pred` `(n, ..., classes)`, the same; values `(n, ...)`.

    Source: Crammer & Singer 2001.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or targets outside of 0 to 1.

    Example:
        >>> float(CategoricalHinge()([[0.0, 1.0, 0.0]], [[0.25, 0.5, 0.75]]))  # 1 + 0.75 - 0.5
        1.25
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_hinge(y_true, y_pred)
