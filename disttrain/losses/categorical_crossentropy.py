"""Cross-entropy of one-hot or soft targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.crossentropy import OneHotTargets, one_hot_beside, shares, smoothed_over_classes
from disttrain.losses.shapes import classes_second


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """The cross-entropy over the classes on `axis`: `(n, classes) -> (n,)`. See `CategoricalCrossentropy`."""
    targets, outputs = one_hot_beside("categorical_crossentropy", y_true, y_pred)
    targets = smoothed_over_classes(targets, label_smoothing, axis)
    if from_logits:
        return functional.cross_entropy(classes_second(outputs, axis), classes_second(targets, axis), reduction="none")
    values: Tensor = torch.special.xlogy(targets, shares(outputs, axis))
    return values.sum(axis).neg()


class CategoricalCrossentropy(OneHotTargets):
    """`-sum(t * log(p))` over the classes; probabilities are scaled to sum 1, then clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a softmax; more exact than probabilities, and faster.
        label_smoothing: moves this fraction of each target to all classes alike, 0 to 1.
        axis: the axis of the classes.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` (one-hot or probabilities) and `y_pred` `(n, ..., classes)`, the same; values `(n, ...)`.

    Source: Good 1952.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, a `label_smoothing` outside of 0 to 1, an `axis` that is no whole number.
        DataError: shapes that do not fit each other, or targets outside of 0 to 1; whole-number labels belong to
            `SparseCategoricalCrossentropy`.

    Example:
        >>> round(float(CategoricalCrossentropy()([[0.0, 1.0]], [[1.0, 3.0]])), 4)
        0.2877
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        if not self.from_logits:
            return None
        targets, outputs = one_hot_beside(self.name, y_true, y_pred)
        targets, outputs = classes_second(targets, self.axis), classes_second(outputs, self.axis)
        return functional.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
