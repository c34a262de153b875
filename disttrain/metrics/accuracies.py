"""Shares of predictions that are right: equal, on the right side of a threshold, the largest class, or among the k largest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.reductions import MeanOfOwnFunction
from disttrain.metrics.shapes import as_prediction, comparable, labels_and_scores, mismatch, rows, score_of_label


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where they are equal, in the shape of the predictions."""
    targets, outputs = comparable("accuracy", y_true, y_pred)
    return (targets.to(outputs.dtype) if targets.is_floating_point() and outputs.is_floating_point() else targets) == outputs


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """True where `y_pred > threshold` agrees with the target, 0 or 1."""
    targets, outputs = comparable("binary_accuracy", y_true, y_pred)
    return targets == (outputs > threshold)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where both have their largest value in the same class: `(..., classes) -> (...)`."""
    targets, outputs = comparable("categorical_accuracy", y_true, y_pred)
    if torch.as_tensor(y_pred).ndim < 2:
        raise mismatch("categorical_accuracy", torch.as_tensor(y_true), torch.as_tensor(y_pred), "both (samples, ..., classes)")
    return targets.argmax(-1) == outputs.argmax(-1)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """True where the largest output is the label: labels `(...)` or `(..., 1)`, outputs `(..., classes)`, values `(...)`."""
    labels, scores = labels_and_scores("sparse_categorical_accuracy", y_true, y_pred)
    return labels == scores.argmax(-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """True where the class of the one-hot target is among the k largest: `(..., classes) -> (...)`; a tie is a hit."""
    targets, outputs = rows("top_k_categorical_accuracy", y_true, y_pred)
    return _in_top_k("top_k_categorical_accuracy", targets.argmax(-1), outputs, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """True where the label is among the k largest: labels `(...)` or `(..., 1)`, outputs `(..., classes)`, values `(...)`.

    With `from_sorted_ids` the outputs are labels, `(..., k or more)`, the most likely first.
    """
    labels, scores = labels_and_scores("sparse_top_k_categorical_accuracy", y_true, y_pred)
    if not from_sorted_ids:
        return _in_top_k("sparse_top_k_categorical_accuracy", labels, as_prediction(scores), k)
    if scores.shape[-1] < k:
        raise mismatch("sparse_top_k_categorical_accuracy", labels, scores, f"y_pred with the {k} most likely labels of each sample")
    return (labels.unsqueeze(-1) == scores[..., :k]).any(-1)


def _in_top_k(metric: str, labels: Tensor, scores: Tensor, k: int) -> Tensor:
    """True where the label's score is at least the k-th largest, so a tie is a hit: labels `(...)`, scores `(..., classes)`.

    Counts the scores above the label's own, which is cheaper than sorting; a label with a NaN score is a miss.
    """
    own = score_of_label(metric, labels, scores)
    return ((scores > own).sum(-1) < k) & ~own.squeeze(-1).isnan()


class Accuracy(MeanOfOwnFunction):
    """How often predictions equal targets, as they are: no threshold, no largest class.

    Example:
        >>> float(Accuracy()([1, 2, 3, 4], [0, 2, 3, 4]))
        0.75
    """

    _direction = "up"

    def __init__(self, name: str | None = "accuracy", dtype: str | None = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanOfOwnFunction):
    """How often a prediction above the threshold meets a 1, and one at or below it a 0.

    Args:
        threshold: predictions strictly above it count as 1. For logits 0 is the middle.

    Example:
        >>> float(BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]]))
        0.75
    """

    _direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanOfOwnFunction):
    """How often the largest output is the class of the one-hot target; probabilities and logits alike.

    Example:
        >>> float(CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]]))
        0.5
    """

    _direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanOfOwnFunction):
    """How often the largest output is the label; probabilities and logits alike.

    Example:
        >>> float(SparseCategoricalAccuracy()([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0.0]]))
        0.5
    """

    _direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanOfOwnFunction):
    """How often the class of the one-hot target is among the `k` largest outputs.

    Args:
        k: how many classes may be named, 1 or more.

    Example:
        >>> float(TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.95, 0.0, 0.05]]))
        0.5
    """

    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=_checked_k("TopKCategoricalAccuracy", k))


class SparseTopKCategoricalAccuracy(MeanOfOwnFunction):
    """How often the label is among the `k` largest outputs.

    Args:
        k: how many classes may be named, 1 or more.
        from_sorted_ids: the outputs are labels instead of scores, the most likely first, k of them or more.

    Example:
        >>> float(SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.1, 0.9, 0.8], [0.95, 0.0, 0.05]]))
        0.5
    """

    _direction = "up"

    def __init__(
        self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy", dtype: str | None = None, from_sorted_ids: bool = False
    ) -> None:
        k = _checked_k("SparseTopKCategoricalAccuracy", k)
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config if config["from_sorted_ids"] else {key: value for key, value in config.items() if key != "from_sorted_ids"}


def _checked_k(metric: str, k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"{metric}(k={k!r}): expected an integer, 1 or more, the number of classes that may be named.")
    return k
