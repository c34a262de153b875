"""Share of yes-or-no predictions that are right."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """True where `y_pred > threshold` agrees with the target, 0 or 1."""
    targets, outputs = aligned("binary_accuracy", y_true, y_pred)
    return targets == (outputs > threshold)


class BinaryAccuracy(MeanMetricWrapper):
    """How often a prediction above the threshold meets a 1, and one at or below it a 0.

    Args:
        threshold: predictions strictly above it count as 1. For logits 0 is the middle.

    Example:
        >>> float(BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]]))
        0.75
    """

    _direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "threshold": self.threshold}
