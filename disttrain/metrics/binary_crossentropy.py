"""Cross-entropy of yes-or-no outputs as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import aligned

EPSILON = 1e-7


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy over the last axis, as `losses.BinaryCrossentropy` has it: `(n, d) -> (n,)`."""
    targets, outputs = aligned("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(-1)
    return functional.binary_cross_entropy(outputs.clamp(EPSILON, 1.0 - EPSILON), targets, reduction="none").mean(-1)


class BinaryCrossentropy(MeanMetricWrapper):
    """The mean of `-(t * log(p) + (1 - t) * log(1 - p))`.

    Args:
        from_logits: the outputs are logits, before a sigmoid.
        label_smoothing: pulls targets towards 0.5 by this fraction, 0 to 1.

    Example:
        >>> round(float(BinaryCrossentropy()([[1.0]], [[0.5]])), 4)
        0.6931
    """

    _direction = "down"

    def __init__(
        self, name: str | None = "binary_crossentropy", dtype: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}
