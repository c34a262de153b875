"""A cross-entropy that bears wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.losses.base import Loss
from disttrain.losses.shapes import labels_beside, labels_in_range
from disttrain.losses.targets import check_label_shape, check_labels


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Tensor:
    """`(1 - p[label]**q) / q`: labels `(n,)` or `(n, 1)`, probabilities `(n, classes)`, values `(n,)`."""
    labels, y_pred, axis = labels_beside("categorical_generalized_cross_entropy", y_true, y_pred)
    labels = labels_in_range("categorical_generalized_cross_entropy", labels, y_pred, axis)
    p = y_pred.gather(axis, labels.unsqueeze(axis)).squeeze(axis)
    p = p.clamp(min=torch.finfo(p.dtype).tiny)  # changes no value, but the slope at 0 is infinite, and softmax would make NaN of it
    values: Tensor = (1.0 - p.pow(q)) / q
    return values


class CategoricalGeneralizedCrossEntropy(Loss):
    """`(1 - p[label]**q) / q` of whole-number labels (Zhang & Sabuncu 2018, eq. 6).

    Args:
        q: between 0, where it is the cross-entropy, and 1, where it is the absolute error, which wrong labels move less.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` `(n, ...)` or `(n, ..., 1)`, whole numbers; `y_pred` `(n, ..., classes)`; values `(n, ...)`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, a `q` that is not between 0 and 1.
        DataError: shapes that do not fit each other, or labels that are no whole numbers below `classes`.

    Example:
        >>> float(CategoricalGeneralizedCrossEntropy(q=0.5)([1], [[0.75, 0.25]]))
        1.0
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not 0.0 < q < 1.0:
            raise ValueError(f"CategoricalGeneralizedCrossEntropy(q={q!r}): expected a number between 0 and 1, neither of them.")
        self.q = q

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_generalized_cross_entropy(y_true, y_pred, self.q)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        check_label_shape(self.name, y, output_shape)
        check_labels(self.name, y, output_shape[-1], None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "q": self.q}
