"""Hinge errors of scores against labels of -1 and 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.reductions import MeanOfOwnFunction
from disttrain.metrics.shapes import aligned, rows


def _shortfall(metric: str, y_true: Any, y_pred: Any) -> Tensor:
    """`max(1 - y_true * y_pred, 0)`. A label of 0 counts as -1.

    Keras turns zeros into -1 where all labels of a batch are 0 or 1. That is no property of a sample, and a slice of a batch cannot know
    it; label by label the outcome is the same for labels of {0, 1} and of {-1, 1}.
    """
    targets, outputs = aligned(metric, y_true, y_pred)
    return (1.0 - torch.where(targets == 0, -1.0, targets) * outputs).clamp(min=0.0)


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y_true * y_pred, 0))` over the last axis, labels -1 (or 0) and 1: `(n, d) -> (n,)`."""
    return _shortfall("hinge", y_true, y_pred).mean(-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y_true * y_pred, 0)**2)` over the last axis, labels -1 (or 0) and 1: `(n, d) -> (n,)`."""
    return _shortfall("squared_hinge", y_true, y_pred).square().mean(-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`max(neg - pos + 1, 0)`, `pos` the score of the one-hot target's class, `neg` the largest other: `(..., classes) -> (...)`."""
    targets, outputs = rows("categorical_hinge", y_true, y_pred)
    return (((1.0 - targets) * outputs).amax(-1) - (targets * outputs).sum(-1) + 1.0).clamp(min=0.0)


class Hinge(MeanOfOwnFunction):
    """Mean of `max(1 - y_true * y_pred, 0)`, labels -1 (or 0) and 1.

    Example:
        >>> float(Hinge()([[1.0], [0.0]], [[0.5], [-2.0]]))
        0.25
    """

    def __init__(self, name: str | None = "hinge", dtype: str | None = None) -> None:
        super().__init__(hinge, name, dtype)


class SquaredHinge(MeanOfOwnFunction):
    """Mean of `max(1 - y_true * y_pred, 0)**2`, labels -1 (or 0) and 1.

    Example:
        >>> float(SquaredHinge()([[1.0], [0.0]], [[0.5], [-2.0]]))
        0.125
    """

    def __init__(self, name: str | None = "squared_hinge", dtype: str | None = None) -> None:
        super().__init__(squared_hinge, name, dtype)


class CategoricalHinge(MeanOfOwnFunction):
    """Mean of `max(neg - pos + 1, 0)`: by how much the best wrong class comes too near to the right one.

    Example:
        >>> float(CategoricalHinge()([[0, 1, 0]], [[0.5, 1.25, 0.0]]))
        0.25
    """

    def __init__(self, name: str | None = "categorical_hinge", dtype: str | None = None) -> None:
        super().__init__(categorical_hinge, name, dtype)
