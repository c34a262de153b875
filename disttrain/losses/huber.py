"""Huber loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.pointwise import PointwiseLoss
from disttrain.losses.shapes import aligned


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """The mean of the Huber function over the last axis: `(n, d) -> (n,)`. See `Huber`."""
    targets, outputs = aligned("huber", y_true, y_pred)
    return functional.huber_loss(outputs, targets, reduction="none", delta=delta).mean(-1)


class Huber(PointwiseLoss):
    """Squared near zero, linear beyond: `0.5 * e**2` where `|e| <= delta`, else `delta * |e| - 0.5 * delta**2` (Huber 1964).

    Args:
        delta: the error at which the loss becomes linear, more than 0.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, a `delta` of 0 or less.
        DataError: shapes that do not fit each other, or a target that is not finite.

    Example:
        >>> float(Huber()([[0.0, 0.0]], [[1.0, 3.0]]))
        1.5
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        if not delta > 0:
            raise ValueError(f"Huber(delta={delta!r}): expected a number above 0, the error at which the loss becomes linear.")
        self.delta = float(delta)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return huber(y_true, y_pred, self.delta)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        targets, outputs = aligned(self.name, y_true, y_pred)
        return functional.huber_loss(outputs, targets, delta=self.delta)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}
