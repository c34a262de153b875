"""The best of one rate where another is good enough, over all thresholds: sensitivity at specificity and its kin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.base import Variable, divide
from disttrain.metrics.confusion import ConfusionMetric


class _OperatingPoint(ConfusionMetric):
    """Base: the largest `_wanted` rate among the thresholds where the `_given` rate is at least `value`, 0 where there is none."""

    _direction = "up"
    _given = ""  # the rate that must be reached; also the name of the first argument
    _wanted = ""
    true_positives: Variable
    false_positives: Variable
    true_negatives: Variable
    false_negatives: Variable

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: str | None) -> None:
        kind = type(self).__name__
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{kind}({self._given}={value!r}): `{self._given}` must be in the range [0, 1].")
        if isinstance(num_thresholds, bool) or not isinstance(num_thresholds, int) or num_thresholds < 1:
            raise ValueError(f"{kind}(num_thresholds={num_thresholds!r}): Argument `num_thresholds` must be an integer > 0.")
        inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        thresholds = [0.5] if num_thresholds == 1 else [0.0, *inner, 1.0]
        super().__init__(thresholds, num_thresholds > 1, name, dtype, class_id=class_id)
        self.value, self.num_thresholds = value, num_thresholds
        setattr(self, self._given, value)
        self._add_counts()

    def result(self) -> Tensor:
        feasible = self._rate(self._given) >= self.value
        return torch.where(feasible, self._rate(self._wanted), 0.0).amax()

    def _rate(self, rate: str) -> Tensor:
        if rate == "specificity":
            return divide(self.true_negatives, self.true_negatives + self.false_positives)
        return divide(self.true_positives, self.true_positives + (self.false_positives if rate == "precision" else self.false_negatives))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), self._given: self.value, "num_thresholds": self.num_thresholds, "class_id": self.class_id}


class SensitivityAtSpecificity(_OperatingPoint):
    """The best sensitivity (the share of the positives above a threshold) where specificity is at least what is asked.

    Args:
        specificity: the share of the negatives that must not be above the threshold, 0 to 1.
        num_thresholds: how many thresholds are tried, evenly from 0 to 1; 1 tries 0.5.
        class_id: look at this class of `(samples, classes)` only.

    Variables: true and false positives and negatives, each `(num_thresholds,)`.

    Example:
        >>> float(SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]))
        0.5
    """

    _given, _wanted = "specificity", "sensitivity"

    def __init__(
        self, specificity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)


class SpecificityAtSensitivity(_OperatingPoint):
    """The best specificity (the share of the negatives that are not above a threshold) where sensitivity is at least what is asked.

    Args:
        sensitivity: the share of the positives that must be above the threshold, 0 to 1.
        num_thresholds, class_id: as `SensitivityAtSpecificity` has them, and the variables too.

    Example:
        >>> round(float(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])), 4)
        0.6667
    """

    _given, _wanted = "sensitivity", "specificity"

    def __init__(
        self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)


class PrecisionAtRecall(_OperatingPoint):
    """The best precision where recall is at least what is asked.

    Args:
        recall: the share of the positives that must be above the threshold, 0 to 1.
        num_thresholds, class_id: as `SensitivityAtSpecificity` has them, and the variables too.

    Example:
        >>> float(PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]))
        0.5
    """

    _given, _wanted = "recall", "precision"

    def __init__(
        self, recall: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)


class RecallAtPrecision(_OperatingPoint):
    """The best recall where precision is at least what is asked.

    Args:
        precision: the share of positives among what is above the threshold that must be reached, 0 to 1.
        num_thresholds, class_id: as `SensitivityAtSpecificity` has them, and the variables too.

    Example:
        >>> float(RecallAtPrecision(0.8)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]))
        0.5
    """

    _given, _wanted = "precision", "recall"

    def __init__(
        self, precision: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
