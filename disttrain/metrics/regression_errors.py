"""How far predictions are from targets: squared, absolute, relative and logarithmic errors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.reductions import Mean, MeanOfOwnFunction
from disttrain.metrics.shapes import aligned, without_gradient

EPSILON = 1e-7


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((y_true - y_pred)**2)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_squared_error", y_true, y_pred)
    return (targets - outputs).square().mean(-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(|y_true - y_pred|)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_absolute_error", y_true, y_pred)
    return (targets - outputs).abs().mean(-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """`100 * mean(|y_true - y_pred| / max(|y_true|, 1e-7))` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_absolute_percentage_error", y_true, y_pred)
    return 100.0 * ((targets - outputs) / targets.abs().clamp(min=EPSILON)).abs().mean(-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((log(max(y_true, 1e-7) + 1) - log(max(y_pred, 1e-7) + 1))**2)` over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("mean_squared_logarithmic_error", y_true, y_pred)
    return ((outputs.clamp(min=EPSILON) + 1.0).log() - (targets.clamp(min=EPSILON) + 1.0).log()).square().mean(-1)


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(log(cosh(e)))` over the last axis, as `|e| + log(1 + exp(-2|e|)) - log(2)`, which does not overflow: `(n, d) -> (n,)`."""
    targets, outputs = aligned("log_cosh", y_true, y_pred)
    errors = (outputs - targets).abs()
    return (errors + (-2.0 * errors).exp().log1p() - math.log(2.0)).mean(-1)  # softplus would round the ends of a slice differently


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """`e**2 / 2` where `|e| <= delta`, `delta * |e| - delta**2 / 2` beyond; the mean over the last axis: `(n, d) -> (n,)`."""
    targets, outputs = aligned("huber", y_true, y_pred)
    errors = (outputs - targets).abs()
    return torch.where(errors <= delta, 0.5 * errors.square(), delta * errors - 0.5 * delta**2).mean(-1)


class MeanSquaredError(MeanOfOwnFunction):
    """Mean of squared differences; weighted, divided by the sum of the weights (the loss divides by the number of samples).

    Example:
        >>> float(MeanSquaredError()([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[1.0, 0.0]))
        1.0
    """

    def __init__(self, name: str | None = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(mean_squared_error, name, dtype)


class RootMeanSquaredError(Mean):
    """The root of the weighted mean of squared differences: `sqrt(sum(w * e**2) / sum(w))`, not a mean of roots.

    Example:
        >>> float(RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [1.0]], sample_weight=[1, 0]))
        3.0
    """

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        targets, outputs = aligned("root_mean_squared_error", y_true, without_gradient(y_pred))
        super().update_state((targets - outputs).square(), sample_weight)

    def result(self) -> Tensor:
        return super().result().sqrt()


class MeanAbsoluteError(MeanOfOwnFunction):
    """Mean of absolute differences.

    Example:
        >>> float(MeanAbsoluteError()([[0.0], [0.0]], [[1.0], [2.0]]))
        1.5
    """

    def __init__(self, name: str | None = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanOfOwnFunction):
    """Mean of absolute differences relative to the target, in percent.

    Example:
        >>> float(MeanAbsolutePercentageError()([[4.0], [2.0]], [[3.0], [4.0]]))
        62.5
    """

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: str | None = None) -> None:
        super().__init__(mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanOfOwnFunction):
    """Mean of squared differences of `log(1 + x)`; what is below 1e-7 counts as 1e-7.

    Example:
        >>> round(float(MeanSquaredLogarithmicError()([[0.0]], [[1.0]])), 4)
        0.4805
    """

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: str | None = None) -> None:
        super().__init__(mean_squared_logarithmic_error, name, dtype)


class LogCoshError(MeanOfOwnFunction):
    """Mean of `log(cosh(error))`: squared for small errors, absolute for large ones. Its name is Keras's, `"logcosh"`.

    Example:
        >>> round(float(LogCoshError()([[0.0]], [[1.0]])), 4)
        0.4338
    """

    def __init__(self, name: str | None = "logcosh", dtype: str | None = None) -> None:
        super().__init__(log_cosh, name, dtype)
