"""Share of predictions with the target's class among the k largest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned


def in_top_k(labels: Tensor, scores: Tensor, k: int) -> Tensor:
    """True where the label's score is at least the k-th largest, so a tie is a hit: labels `(...)`, scores `(..., classes)`.

    Counts the scores above the label's own, which is cheaper than sorting; a label with a NaN score is a miss.
    """
    own = scores.gather(-1, labels.unsqueeze(-1))
    return ((scores > own).sum(-1) < k) & ~own.squeeze(-1).isnan()


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """True where the class of the one-hot target is among the k largest: `(..., classes) -> (...)`."""
    targets, outputs = aligned("top_k_categorical_accuracy", y_true, y_pred)
    return in_top_k(targets.argmax(-1), outputs, k)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the class of the one-hot target is among the `k` largest outputs.

    Args:
        k: how many classes may be named, 1 or more.

    Example:
        >>> float(TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.95, 0.0, 0.05]]))
        0.5
    """

    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: str | None = None) -> None:
        if k < 1:
            raise ValueError(f"TopKCategoricalAccuracy(k={k!r}): expected 1 or more, the number of classes that may be named.")
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "k": self.k}
