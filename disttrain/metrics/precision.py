"""Share of the predicted positives that are positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.base import Metric, divide
from disttrain.metrics.confusion import NEVER, prepared, thresholds_of, weight_above


class Precision(Metric):
    """`true positives / (true positives + false positives)`, 0 where nothing was predicted.

    Args:
        thresholds: predictions strictly above count as positive; several give a result for each. 0.5 unless told.
        top_k: of each row the k largest predictions count as positive.
        class_id: look at this class of `(samples, classes)` only.

    Variables: `true_positives (thresholds,)`, `false_positives (thresholds,)`.

    Example:
        >>> float(Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
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
        self.thresholds = thresholds_of("Precision", thresholds, 0.5 if top_k is None else NEVER)
        self.true_positives = self.add_variable((len(self.thresholds),), "true_positives")
        self.false_positives = self.add_variable((len(self.thresholds),), "false_positives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, y_pred, weights = prepared("Precision", y_true, y_pred, sample_weight, self.top_k, self.class_id)
        thresholds = torch.tensor(self.thresholds, device=y_pred.device)
        self.true_positives.add_(weight_above(labels, y_pred, weights, thresholds))
        self.false_positives.add_(weight_above(~labels, y_pred, weights, thresholds))

    def result(self) -> Tensor:
        values = divide(self.true_positives, self.true_positives + self.false_positives)
        return values[0] if len(self.thresholds) == 1 else values

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
