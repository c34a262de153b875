"""Mean squared error as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((y_true - y_pred)**2)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_squared_error", y_true, y_pred)
    return (targets - outputs).square().mean(-1)


class MeanSquaredError(MeanMetricWrapper):
    """Mean of squared differences; weighted, divided by the sum of the weights (the loss divides by the number of samples).

    Example:
        >>> float(MeanSquaredError()([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[1.0, 0.0]))
        1.0
    """

    _direction = "down"

    def __init__(self, name: str | None = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(mean_squared_error, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
