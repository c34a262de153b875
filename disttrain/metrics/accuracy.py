"""Share of predictions that equal the targets."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where they are equal, in the shape of the predictions."""
    targets, outputs = aligned("accuracy", y_true, y_pred)
    return targets == outputs


class Accuracy(MeanMetricWrapper):
    """How often predictions equal targets, as they are: no threshold, no largest class.

    Example:
        >>> float(Accuracy()([1, 2, 3, 4], [0, 2, 3, 4]))
        0.75
    """

    _direction = "up"

    def __init__(self, name: str | None = "accuracy", dtype: str | None = None) -> None:
        super().__init__(accuracy, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
