"""Share of predictions with the label among the k largest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import labels_and_scores
from disttrain.metrics.top_k_categorical_accuracy import in_top_k


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """True where the label is among the k largest: labels `(...)` or `(..., 1)`, outputs `(..., classes)`, values `(...)`."""
    labels, scores = labels_and_scores("sparse_top_k_categorical_accuracy", y_true, y_pred)
    return in_top_k(labels, scores, k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the label is among the `k` largest outputs.

    Args:
        k: how many classes may be named, 1 or more.

    Example:
        >>> float(SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.1, 0.9, 0.8], [0.95, 0.0, 0.05]]))
        0.5
    """

    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy", dtype: str | None = None) -> None:
        if k < 1:
            raise ValueError(f"SparseTopKCategoricalAccuracy(k={k!r}): expected 1 or more, the number of classes that may be named.")
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "k": self.k}
