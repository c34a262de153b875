"""Cross-entropy of whole-number labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.base import Loss
from disttrain.losses.shapes import EPSILON, classes_second, labels_beside, labels_in_range
from disttrain.losses.targets import check_label_shape, check_labels
from disttrain.torch_losses import NO_LABEL


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """The cross-entropy over the classes on `axis`: labels `(n,)` or `(n, 1)`, outputs `(n, classes)`, values `(n,)`.

    Values of ignored labels are 0 and carry a mask, by which `Loss` takes them out of the mean.
    """
    labels, y_pred, axis = labels_beside("sparse_categorical_crossentropy", y_true, y_pred, axis)
    valid = None
    if ignore_class is not None:
        valid = labels != ignore_class
        labels = torch.where(valid, labels, 0)
    labels = labels_in_range("sparse_categorical_crossentropy", labels, y_pred, axis)
    if from_logits:
        values = functional.cross_entropy(classes_second(y_pred, axis), labels, reduction="none", ignore_index=NO_LABEL)
    else:
        values = _log_probability(labels, y_pred, axis).squeeze(axis).neg()
    if valid is not None:
        values = torch.where(valid, values, 0.0)
        values._keras_mask = valid  # type: ignore[attr-defined]
    return values


def _log_probability(labels: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """The log of the label's share, the class axis kept.

    Only the label's own probability is divided, clipped and logged: the numbers of doing so to all of them, in a fraction of the work.
    """
    share = y_pred.gather(axis, labels.unsqueeze(axis)) / y_pred.sum(axis, keepdim=True)
    return share.clamp(EPSILON, 1.0 - EPSILON).log()


class SparseCategoricalCrossentropy(Loss):
    """`-log(p[label])`; probabilities are scaled to sum 1, then clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a softmax; more exact than probabilities, and faster.
        ignore_class: a label whose samples do not count, such as -1 for padding.
        axis: the axis of the classes.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` `(n, ...)` or `(n, ..., 1)`, whole numbers; `y_pred` `(n, ..., classes)`; values `(n, ...)`.

    Source: Good 1952.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, or labels that are neither whole numbers below `classes` nor `ignore_class`.

    Example:
        >>> round(float(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]])), 4)
        0.2877
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits, self.ignore_class, self.axis = bool(from_logits), ignore_class, axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        if self.ignore_class is not None or (self.from_logits and y_pred.ndim > 2 and y_pred.device.type != "cpu"):
            return None  # torch's mean over images adds in no fixed order on CUDA; of their values, the mean is taken in one
        labels, y_pred, axis = labels_beside(self.name, y_true, y_pred, self.axis)
        labels = labels_in_range(self.name, labels, y_pred, axis)
        if self.from_logits:
            return functional.cross_entropy(classes_second(y_pred, axis), labels, ignore_index=NO_LABEL)
        return _log_probability(labels, y_pred, axis).mean().neg()

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        check_label_shape(self.name, y, output_shape, self.axis)
        check_labels(self.name, y, output_shape[self.axis], self.ignore_class)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class, "axis": self.axis}
