"""Cross-entropy of one-hot or soft targets as a metric."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import as_prediction, mismatch

EPSILON = 1e-7


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """The cross-entropy over the classes on `axis`, as `losses.CategoricalCrossentropy` has it: `(n, classes) -> (n,)`."""
    outputs = as_prediction(y_pred)
    targets = torch.as_tensor(y_true, device=outputs.device).detach().to(outputs.dtype)
    if targets.shape != outputs.shape:
        raise mismatch("categorical_crossentropy", targets, outputs, "equal shapes, one-hot targets")
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1]
    if from_logits:
        log_p = torch.log_softmax(outputs, axis)
    else:
        log_p = (outputs / outputs.sum(axis, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON).log()
    return -(targets * log_p).sum(axis)


class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean of `-sum(t * log(p))` over the classes.

    Args:
        from_logits: the outputs are logits, before a softmax.
        label_smoothing: moves this fraction of each target to all classes alike, 0 to 1.
        axis: the axis of the classes.

    Example:
        >>> round(float(CategoricalCrossentropy()([[0.0, 1.0]], [[1.0, 3.0]])), 4)
        0.2877
    """

    _direction = "down"

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(categorical_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def get_config(self) -> dict[str, Any]:
        config = {"name": self.name, "dtype": self.dtype}
        return {**config, "from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
