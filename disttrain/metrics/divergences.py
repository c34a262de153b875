"""Kullback-Leibler divergence and the Poisson error."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanOfOwnFunction
from disttrain.metrics.shapes import aligned, rows

EPSILON = 1e-7


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """`sum(y_true * log(y_true / y_pred))` over the classes, both clipped to 1e-7 to 1: `(..., classes) -> (...)`."""
    targets, outputs = (x.clamp(EPSILON, 1.0) for x in rows("kl_divergence", y_true, y_pred))
    return (targets * (targets / outputs).log()).sum(-1)


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(y_pred - y_true * log(y_pred + 1e-7))` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("poisson", y_true, y_pred)
    return (outputs - targets * (outputs + EPSILON).log()).mean(-1)


class KLDivergence(MeanOfOwnFunction):
    """Mean of `sum(y_true * log(y_true / y_pred))`: how far predicted probabilities are from the true ones.

    Example:
        >>> round(float(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]])), 4)
        0.1438
    """

    def __init__(self, name: str | None = "kl_divergence", dtype: str | None = None) -> None:
        super().__init__(kl_divergence, name, dtype)


class Poisson(MeanOfOwnFunction):
    """Mean of `y_pred - y_true * log(y_pred)`: the error of a predicted rate against a count.

    Example:
        >>> round(float(Poisson()([[2.0]], [[1.0]])), 4)
        1.0
    """

    def __init__(self, name: str | None = "poisson", dtype: str | None = None) -> None:
        super().__init__(poisson, name, dtype)
