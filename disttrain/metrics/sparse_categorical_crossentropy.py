"""Cross-entropy of whole-number labels as a metric."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import as_prediction, labels_and_scores

EPSILON = 1e-7


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """`-log(p[label])`, as `losses.SparseCategoricalCrossentropy` has it: labels `(n,)` or `(n, 1)`, outputs `(n, classes)`.

    Values of ignored labels are 0 and carry a mask, by which the metric leaves them out.
    """
    labels, scores = labels_and_scores("sparse_categorical_crossentropy", y_true, as_prediction(y_pred).movedim(axis, -1))
    valid = None if ignore_class is None else labels != ignore_class
    if valid is not None:
        labels = torch.where(valid, labels, 0)
    if from_logits:
        values = functional.cross_entropy(scores.movedim(-1, 1) if scores.ndim > 1 else scores, labels, reduction="none")
    else:
        own = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        values = (own / scores.sum(-1)).clamp(EPSILON, 1.0 - EPSILON).log().neg()
    if valid is not None:
        values = torch.where(valid, values, 0.0)
        values._keras_mask = valid  # type: ignore[attr-defined]
    return values


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean of `-log(p[label])`.

    Args:
        from_logits: the outputs are logits, before a softmax.
        ignore_class: a label whose samples do not count. (Keras counts them, as zeros, unless there are sample weights.)
        axis: the axis of the classes.

    Example:
        >>> round(float(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]])), 4)
        0.2877
    """

    _direction = "down"

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def get_config(self) -> dict[str, Any]:
        config = {"name": self.name, "dtype": self.dtype}
        return {**config, "from_logits": self.from_logits, "ignore_class": self.ignore_class, "axis": self.axis}
