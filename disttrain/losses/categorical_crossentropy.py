"""Cross-entropy of one-hot or soft targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.losses.base import Loss
from disttrain.losses.shapes import as_prediction
from disttrain.losses.targets import check_finite, check_same_shape

EPSILON = 1e-7


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """The cross-entropy over the classes on `axis`: `(n, classes) -> (n,)`. See `CategoricalCrossentropy`."""
    outputs = as_prediction(y_pred)
    targets = torch.as_tensor(y_true, dtype=outputs.dtype, device=outputs.device)
    if targets.shape != outputs.shape:
        raise DataError(
            f"categorical_crossentropy: y_true has shape {tuple(targets.shape)}, y_pred has shape {tuple(outputs.shape)}.\n"
            "  expected  equal shapes, one-hot targets\n"
            "  try       loss='sparse_categorical_crossentropy' for whole-number labels"
        )
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1]
    if from_logits:
        log_p = torch.log_softmax(outputs, axis)
    else:
        log_p = (outputs / outputs.sum(axis, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON).log()
    return -(targets * log_p).sum(axis)


class CategoricalCrossentropy(Loss):
    """`-sum(t * log(p))` over the classes; probabilities are scaled to sum 1, then clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a softmax.
        label_smoothing: moves this fraction of each target to all classes alike, 0 to 1.
        axis: the axis of the classes.
        reduction, name: see `Loss`.

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
    ) -> None:
        super().__init__(name, reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"CategoricalCrossentropy(label_smoothing={label_smoothing!r}): expected a fraction from 0 to 1.")
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        advice = "loss='sparse_categorical_crossentropy' for whole-number labels"
        check_same_shape(self.name, y, output_shape, advice, last_one_optional=False)
        check_finite(self.name, y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
