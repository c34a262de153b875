"""Cross-entropy of yes-or-no outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from disttrain.losses.base import Loss
from disttrain.losses.shapes import aligned
from disttrain.losses.targets import check_range, check_same_shape

EPSILON = 1e-7  # Keras's fuzz factor: a loss of one output is at most -log(1e-7) = 16.1


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """The mean cross-entropy over `axis`: `(n, d) -> (n,)`. See `BinaryCrossentropy`."""
    targets, outputs = aligned("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        values = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    else:
        values = functional.binary_cross_entropy(outputs.clamp(EPSILON, 1.0 - EPSILON), targets, reduction="none")
    return values.mean(axis)


class BinaryCrossentropy(Loss):
    """`-(t * log(p) + (1 - t) * log(1 - p))`, mean over `axis`; `p` is clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a sigmoid; more exact than probabilities.
        label_smoothing: pulls targets towards 0.5 by this fraction, 0 to 1.
        axis: the axis of the mean.
        reduction, name: see `Loss`.

    Example:
        >>> round(float(BinaryCrossentropy()([[1.0]], [[0.5]])), 4)
        0.6931
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(name, reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"BinaryCrossentropy(label_smoothing={label_smoothing!r}): expected a fraction from 0 to 1.")
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        classes = output_shape[-1] if output_shape else 1
        advice = "loss='sparse_categorical_crossentropy' for one label of several classes" if classes > 1 else "a last layer of 1 unit"
        check_same_shape(self.name, y, output_shape, advice)
        check_range(self.name, y, 0, 1, "probabilities, or the labels 0 and 1")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
