"""Mean absolute error as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(|y_true - y_pred|)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_absolute_error", y_true, y_pred)
    return (targets - outputs).abs().mean(-1)


class MeanAbsoluteError(MeanMetricWrapper):
    """Mean of absolute differences.

    Example:
        >>> float(MeanAbsoluteError()([[0.0], [0.0]], [[1.0], [2.0]]))
        1.5
    """

    _direction = "down"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(mean_absolute_error, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
