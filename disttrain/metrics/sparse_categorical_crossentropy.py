"""Cross-entropy of whole-number labels as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from disttrain.metrics.reductions import MeanMetricWrapper
from disttrain.metrics.shapes import as_prediction, labels_and_scores

EPSILON = 1e-7


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """`-log(p[label])`, as `losses.SparseCategoricalCrossentropy` has it: labels `(n,)` or `(n, 1)`, outputs `(n, classes)`."""
    labels, scores = labels_and_scores("sparse_categorical_crossentropy", y_true, as_prediction(y_pred).movedim(axis, -1))
    if from_logits:
        return functional.cross_entropy(scores.movedim(-1, 1) if scores.ndim > 1 else scores, labels, reduction="none")
    own = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return (own / scores.sum(-1)).clamp(EPSILON, 1.0 - EPSILON).log().neg()


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean of `-log(p[label])`.

    Args:
        from_logits: the outputs are logits, before a softmax.
        axis: the axis of the classes.

    Example:
        >>> round(float(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]])), 4)
        0.2877
    """

    _direction = "down"

    def __init__(
        self, name: str | None = "sparse_categorical_crossentropy", dtype: str | None = None, from_logits: bool = False, axis: int = -1
    ) -> None:
        super().__init__(sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis)
        self.from_logits, self.axis = from_logits, axis

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "from_logits": self.from_logits, "axis": self.axis}
