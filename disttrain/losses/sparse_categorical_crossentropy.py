"""Cross-entropy of whole-number labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from disttrain.errors import DataError
from disttrain.losses.base import Loss
from disttrain.losses.shapes import as_prediction
from disttrain.losses.targets import check_labels

EPSILON = 1e-7


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """The cross-entropy over the classes on `axis`: labels `(n,)` or `(n, 1)`, outputs `(n, classes)`, values `(n,)`.

    Values of ignored labels are 0 and carry a mask, by which `Loss` takes them out of the mean.
    """
    labels, y_pred, axis = _aligned(y_true, y_pred, axis)
    valid = None
    if ignore_class is not None:
        valid = labels != ignore_class
        labels = torch.where(valid, labels, 0)
    if from_logits:
        values = functional.cross_entropy(_classes_second(y_pred, axis), labels, reduction="none")
    else:
        values = _log_probability(labels, y_pred, axis).squeeze(axis).neg()
    if valid is not None:
        values = torch.where(valid, values, 0.0)
        values._keras_mask = valid  # type: ignore[attr-defined]
    return values


def _aligned(y_true: Any, y_pred: Any, axis: int) -> tuple[Tensor, Tensor, int]:
    """(labels as integers without the class axis, predictions, the class axis counted from the front)."""
    y_pred = as_prediction(y_pred)
    labels = torch.as_tensor(y_true, device=y_pred.device).long()
    axis = axis % y_pred.ndim
    if labels.ndim == y_pred.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if labels.shape != y_pred.shape[:axis] + y_pred.shape[axis + 1 :]:
        raise DataError(
            f"sparse_categorical_crossentropy: y_true has shape {tuple(labels.shape)}, y_pred has shape {tuple(y_pred.shape)}.\n"
            "  expected  one label where y_pred has a row of classes\n"
            "  try       loss='categorical_crossentropy' for one-hot targets"
        )
    return labels, y_pred, axis


def _log_probability(labels: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """The log of the label's share, the class axis kept.

    Only the label's own probability is divided, clipped and logged: the numbers of doing so to all of them, in a fraction of the work.
    """
    share = y_pred.gather(axis, labels.unsqueeze(axis)) / y_pred.sum(axis, keepdim=True)
    return share.clamp(EPSILON, 1.0 - EPSILON).log()


def _classes_second(y_pred: Tensor, axis: int) -> Tensor:
    """The class axis where `cross_entropy` wants it: a view, and for `(n, classes)` no change."""
    return y_pred if y_pred.ndim < 2 or axis == 1 else y_pred.movedim(axis, 1)


class SparseCategoricalCrossentropy(Loss):
    """`-log(p[label])`; probabilities are scaled to sum 1, then clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a softmax.
        ignore_class: a label whose samples do not count, such as -1 for padding.
        axis: the axis of the classes.
        reduction, name: see `Loss`.

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
    ) -> None:
        super().__init__(name, reduction)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)

    def mean(self, y_true: Any, y_pred: Any) -> Tensor | None:
        if self.ignore_class is not None:
            return None
        labels, y_pred, axis = _aligned(y_true, y_pred, self.axis)
        if self.from_logits:
            return functional.cross_entropy(_classes_second(y_pred, axis), labels)
        return _log_probability(labels, y_pred, axis).mean().neg()

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        axis = self.axis % len(output_shape)
        want = tuple(size for number, size in enumerate(output_shape) if number not in (0, axis))
        if tuple(y.shape[1:]) not in (want, (*want, 1)):
            hint = "\n  try       loss='categorical_crossentropy' for one-hot targets" if y.shape[1:] == tuple(output_shape[1:]) else ""
            raise DataError(
                f"{self.name}: y has shape {tuple(y.shape)}, the model's output has shape {('samples', *output_shape[1:])}.\n"
                f"  expected  y of shape {('samples', *want)}: one label, where the output has {output_shape[axis]} classes{hint}"
            )
        check_labels(self.name, y, output_shape[axis], self.ignore_class)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class, "axis": self.axis}
