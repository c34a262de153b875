"""Root mean squared error."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import Mean
from disttrain.metrics.shapes import aligned


class RootMeanSquaredError(Mean):
    """The root of the weighted mean of squared differences: `sqrt(sum(w * e**2) / sum(w))`, not a mean of roots.

    Example:
        >>> float(RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [1.0]], sample_weight=[1, 0]))
        3.0
    """

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        targets, outputs = aligned("root_mean_squared_error", y_true, y_pred)
        super().update_state((targets - outputs).square(), sample_weight)

    def result(self) -> Tensor:
        return super().result().sqrt()
