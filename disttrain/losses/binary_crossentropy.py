"""Cross-entropy of yes-or-no outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.losses.crossentropy import BinaryTargets, binary_of_probabilities, smoothed_to_half
from disttrain.losses.shapes import aligned


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """The mean cross-entropy over `axis`: `(n, d) -> (n,)`. See `BinaryCrossentropy`."""
    targets, outputs = aligned("binary_crossentropy", y_true, y_pred)
    targets = smoothed_to_half(targets, label_smoothing)
    if from_logits:
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(axis)
    return binary_of_probabilities(targets, outputs).mean(axis)


class BinaryCrossentropy(BinaryTargets):
    """`-(t * log(p) + (1 - t) * log(1 - p))`, mean over `axis`; `p` is clipped to `[1e-7, 1 - 1e-7]`.

    Args:
        from_logits: the outputs are logits, before a sigmoid; more exact than probabilities, and faster.
        label_smoothing: pulls targets towards 0.5 by this fraction, 0 to 1.
        axis: the axis of the mean.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Source: Good 1952.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, a `label_smoothing` outside of 0 to 1, an `axis` that is no whole number.
        DataError: shapes that do not fit each other, or targets outside of 0 to 1.

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
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        targets, outputs = aligned(self.name, y_true, y_pred)
        targets = smoothed_to_half(targets, self.label_smoothing)
        if self.from_logits:
            return functional.binary_cross_entropy_with_logits(outputs, targets)
        return binary_of_probabilities(targets, outputs).mean()
