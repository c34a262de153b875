"""Share of predictions whose largest class is that of the one-hot target."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where both have their largest value in the same class: `(..., classes) -> (...)`."""
    targets, outputs = aligned("categorical_accuracy", y_true, y_pred)
    return targets.argmax(-1) == outputs.argmax(-1)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest output is the class of the one-hot target; probabilities and logits alike.

    Example:
        >>> float(CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]]))
        0.5
    """

    _direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
