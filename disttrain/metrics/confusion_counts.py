"""True and false positives and negatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.base import Variable
from disttrain.metrics.confusion import ConfusionMetric, checked_thresholds, evenly_spaced


class _Count(ConfusionMetric):
    """Base: the weight of one kind of prediction, at each threshold."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: str | None = None) -> None:
        listed = checked_thresholds(type(self).__name__, 0.5 if thresholds is None else thresholds)
        super().__init__(listed, evenly_spaced(listed), name, dtype)
        self.init_thresholds = thresholds
        self._add_counts()

    @property
    def accumulator(self) -> Variable:
        return self.variables[0]

    def result(self) -> Tensor:
        return self.accumulator[0] if len(self.thresholds) == 1 else self.accumulator.clone()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """The weight of the positives that are predicted: strictly above the threshold.

    Args:
        thresholds: 0.5 unless told; several give a result for each. For logits 0 is the middle.

    Variable: `accumulator (thresholds,)`.

    Example:
        >>> float(TruePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
        2.0
    """

    _keeps = ("true_positives",)


class FalsePositives(_Count):
    """The weight of the negatives that are predicted as positives; arguments and variable as `TruePositives` has them.

    Example:
        >>> float(FalsePositives()([0, 1, 0, 0], [0.0, 0.0, 1.0, 1.0]))
        2.0
    """

    _keeps = ("false_positives",)


class TrueNegatives(_Count):
    """The weight of the negatives that are not predicted; arguments and variable as `TruePositives` has them.

    Example:
        >>> float(TrueNegatives()([0, 1, 0, 0], [1.0, 1.0, 0.0, 0.0]))
        2.0
    """

    _keeps = ("true_negatives",)


class FalseNegatives(_Count):
    """The weight of the positives that are not predicted; arguments and variable as `TruePositives` has them.

    Example:
        >>> float(FalseNegatives()([0, 1, 1, 1], [0.0, 1.0, 0.0, 0.0]))
        2.0
    """

    _keeps = ("false_negatives",)
