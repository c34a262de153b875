"""Share of the positives that were predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.base import Metric, divide
from disttrain.metrics.confusion import NEVER, prepared, thresholds_of, weight_above


class Recall(Metric):
    """`true positives / (true positives + false negatives)`, 0 where there is no positive.

    Args:
        thresholds: predictions strictly above count as positive; several give a result for each. 0.5 unless told.
        top_k: of each row the k largest predictions count as positive.
        class_id: look at this class of `(samples, classes)` only.

    Variables: `true_positives (thresholds,)`, `false_negatives (thresholds,)`.

    Example:
        >>> float(Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
        0.6666666666666666
    """

    _direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self.init_thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self.thresholds = thresholds_of("Recall", thresholds, 0.5 if top_k is None else NEVER)
        self.true_positives = self.add_variable((len(self.thresholds),), "true_positives")
        self.false_negatives = self.add_variable((len(self.thresholds),), "false_negatives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, y_pred, weights = prepared("Recall", y_true, y_pred, sample_weight, self.top_k, self.class_id)
        found = weight_above(labels, y_pred, weights, torch.tensor(self.thresholds, device=y_pred.device))
        positives = labels.sum(dtype=torch.float64) if weights is None else torch.where(labels, weights, 0.0).sum()
        self.true_positives.add_(found)
        self.false_negatives.add_(positives - found)

    def result(self) -> Tensor:
        values = divide(self.true_positives, self.true_positives + self.false_negatives)
        return values[0] if len(self.thresholds) == 1 else values

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
