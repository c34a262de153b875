"""What the cross-entropies have in common: logits or probabilities, smoothed targets, the axis of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.losses.base import Loss
from disttrain.losses.shapes import EPSILON, as_prediction
from disttrain.losses.targets import check_finite, check_range, check_same_shape


class SmoothedCrossentropy(Loss):
    """Base of cross-entropies whose targets have the shape of the output and may be smoothed."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"{type(self).__name__}(label_smoothing={label_smoothing!r}): expected a fraction from 0 to 1.")
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ValueError(f"{type(self).__name__}(axis={axis!r}): expected a whole number, the axis of the classes.")
        self.from_logits, self.label_smoothing, self.axis = bool(from_logits), label_smoothing, axis

    def get_config(self) -> dict[str, Any]:
        own = {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
        return {**super().get_config(), **own}


class BinaryTargets(SmoothedCrossentropy):
    """Base of those with a yes or no for each output."""

    _elementwise = True

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        classes = output_shape[-1] if output_shape else 1
        advice = "loss='sparse_categorical_crossentropy' for one label of several classes" if classes > 1 else "a last layer of 1 unit"
        check_same_shape(self.name, y, output_shape, advice)
        check_range(self.name, y, 0, 1, "probabilities, or the labels 0 and 1")


class OneHotTargets(SmoothedCrossentropy):
    """Base of those with a row of classes for each sample."""

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        advice = "loss='sparse_categorical_crossentropy' for whole-number labels"
        check_same_shape(self.name, y, output_shape, advice, last_one_optional=False)
        check_finite(self.name, y)


def binary_of_probabilities(targets: Tensor, p: Tensor) -> Tensor:
    """`-(t * log(p) + (1 - t) * log(1 - p))` with `p` clipped to `[1e-7, 1 - 1e-7]`.

    Not torch's `binary_cross_entropy`: that one refuses NaN, on CUDA by an assertion that ends the process. Here NaN goes through, and
    the run ends with the step that it came from.
    """
    p = p.clamp(EPSILON, 1.0 - EPSILON)
    return torch.lerp((-p).log1p(), p.log(), targets).neg()


def one_hot_beside(loss: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(targets, outputs)` of equal shape, the targets in the outputs' dtype.

    Raises:
        DataError: other shapes; a label is not a row of classes.
    """
    outputs = as_prediction(y_pred)
    targets = on_device(y_true, outputs.device, outputs.dtype)
    if targets.shape != outputs.shape or targets.ndim == 0:
        raise DataError(
            f"{loss}: y_true has shape {tuple(targets.shape)}, y_pred has shape {tuple(outputs.shape)}; they must have the same shape.\n"
            "  expected  equal shapes, one-hot targets\n"
            "  try       loss='sparse_categorical_crossentropy' for whole-number labels"
        )
    return targets, outputs


def shares(p: Tensor, axis: int) -> Tensor:
    """Probabilities scaled to sum 1 along `axis`, clipped to `[1e-7, 1 - 1e-7]`."""
    return (p / p.sum(axis, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON)


def smoothed_to_half(targets: Tensor, label_smoothing: float) -> Tensor:
    """Yes-or-no targets pulled towards 0.5."""
    return targets * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else targets


def smoothed_over_classes(targets: Tensor, label_smoothing: float, axis: int) -> Tensor:
    """A fraction of each target moved to all classes alike."""
    return targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[axis] if label_smoothing else targets
