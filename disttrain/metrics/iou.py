"""Intersection over union of classes, as of the pixels of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.metrics.base import Metric
from disttrain.metrics.reductions import check_axis
from disttrain.metrics.shapes import as_prediction, fitted_weights, mismatch, same_rank, without_gradient

EPSILON = 1e-7
NOTHING = 1e-9  # a union up to this weight is empty: the class does not count in the mean


class IoU(Metric):
    """`true positives / (true positives + false positives + false negatives)` of classes, and the mean over them.

    Args:
        num_classes: labels run from 0 to `num_classes` - 1; others do not count.
        target_class_ids: the classes whose mean is the result; one that neither occurs nor is predicted is left out.
        ignore_class: a label whose places do not count.
        sparse_y_true, sparse_y_pred: labels. False: one-hot, or scores of each class, whose largest is the label.
        axis: of the classes where they are not sparse.

    Variable: `total_cm (num_classes, num_classes)`, the weight of each pair (label, prediction).

    Example:
        >>> round(float(IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1])), 4)
        0.3333
    """

    _direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(dtype or "int32", name)
        kind = type(self).__name__
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"{kind}(num_classes={num_classes!r}): expected an integer, 1 or more.")
        ids = [int(label) for label in target_class_ids]
        if not ids or not all(0 <= label < num_classes for label in ids):
            raise ValueError(f"{kind}(target_class_ids={target_class_ids!r}): expected labels from 0 to {num_classes - 1}.")
        check_axis(kind, axis)
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, ids, ignore_class
        self.sparse_y_true, self.sparse_y_pred, self.axis = sparse_y_true, sparse_y_pred, axis
        self.total_cm = self.add_variable((num_classes, num_classes), name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels = self._labels("y_true", y_true, self.sparse_y_true)
        predicted = self._labels("y_pred", y_pred, self.sparse_y_pred).to(labels.device)
        labels, predicted = same_rank(labels, predicted)
        if labels.shape != predicted.shape:
            raise mismatch(type(self).__name__, labels, predicted, "a label for each prediction")
        valid = (labels >= 0) & (labels < self.num_classes) & (predicted >= 0) & (predicted < self.num_classes)
        if self.ignore_class is not None:
            valid &= labels != self.ignore_class
        pairs = torch.where(valid, labels * self.num_classes + predicted, self.num_classes**2).reshape(-1)  # the last: not counted
        if sample_weight is None:
            weights = torch.ones((), dtype=torch.float64, device=labels.device).expand(pairs.shape)
        else:
            weights = fitted_weights(sample_weight, labels).expand(labels.shape).reshape(-1)
        counts = torch.zeros(self.num_classes**2 + 1, dtype=torch.float64, device=labels.device).scatter_add_(0, pairs, weights)
        self.total_cm.add_(counts[:-1].view(self.num_classes, self.num_classes))

    def _labels(self, argument: str, given: Any, sparse: bool) -> Tensor:
        values: Tensor = without_gradient(given)
        if sparse:
            return values.long()
        if not -values.ndim <= self.axis < values.ndim or values.shape[self.axis] != self.num_classes:
            raise DataError(
                f"{type(self).__name__}: {argument} has shape {tuple(values.shape)}; "
                f"expected {self.num_classes} classes on axis {self.axis}."
            )
        return values.argmax(self.axis)

    def result(self) -> Tensor:
        found = self.total_cm.diagonal()
        union = self.total_cm.sum(0) + self.total_cm.sum(1) - found
        chosen = on_device(self.target_class_ids, found.device, torch.long)
        found, union = found[chosen], union[chosen]
        occurs = union > NOTHING
        return torch.where(occurs, found / (union + EPSILON), 0.0).sum() / (occurs.sum() + EPSILON)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "target_class_ids": self.target_class_ids,
            "ignore_class": self.ignore_class,
            "sparse_y_true": self.sparse_y_true,
            "sparse_y_pred": self.sparse_y_pred,
            "axis": self.axis,
        }


class BinaryIoU(IoU):
    """`IoU` of the two classes of yes-or-no outputs.

    Args:
        target_class_ids: of 0 and 1, those whose mean is the result.
        threshold: outputs from it on are 1. (Accuracy and precision ask for more than their threshold; Keras's rule too.)

    Example:
        >>> round(float(BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])), 4)
        0.3333
    """

    def __init__(
        self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(y_true, as_prediction(y_pred).to(torch.float32) >= self.threshold, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"target_class_ids": self.target_class_ids, "threshold": self.threshold, "name": self.name, "dtype": self.dtype}


class MeanIoU(IoU):
    """`IoU` with all classes as targets.

    Example:
        >>> round(float(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1])), 4)
        0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        everything = range(num_classes) if isinstance(num_classes, int) else ()
        super().__init__(num_classes, everything, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "target_class_ids")


class OneHotIoU(IoU):
    """`IoU` of one-hot targets, and of the scores of each class unless `sparse_y_pred`.

    Example:
        >>> y_true, y_pred = [[0, 0, 1], [1, 0, 0]], [[0.2, 0.3, 0.5], [0.1, 0.7, 0.2]]
        >>> round(float(OneHotIoU(num_classes=3, target_class_ids=[0, 2])(y_true, y_pred)), 4)
        0.5
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "sparse_y_true")


class OneHotMeanIoU(MeanIoU):
    """`OneHotIoU` with all classes as targets.

    Example:
        >>> y_true, y_pred = [[0, 0, 1], [1, 0, 0]], [[0.2, 0.3, 0.5], [0.1, 0.7, 0.2]]
        >>> round(float(OneHotMeanIoU(num_classes=3)(y_true, y_pred)), 4)
        0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "sparse_y_true")


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}
