"""Share of predictions whose largest class is the label."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import labels_and_scores


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where the largest output is the label: labels `(...)` or `(..., 1)`, outputs `(..., classes)`, values `(...)`."""
    labels, scores = labels_and_scores("sparse_categorical_accuracy", y_true, y_pred)
    return labels == scores.argmax(-1)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest output is the label; probabilities and logits alike.

    Example:
        >>> float(SparseCategoricalAccuracy()([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0.0]]))
        0.5
    """

    _direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
