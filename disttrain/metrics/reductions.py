"""Means and sums of values: the metrics that most others are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.base import Metric, divide
from disttrain.metrics.shapes import same_rank


def _by_sample(values: Any, sample_weight: Any) -> tuple[Tensor, Tensor | None]:
    """Weighted values and their weights, one for each sample: what lies beyond the first axis is averaged."""
    values = torch.as_tensor(values).detach()
    if sample_weight is None:
        return (values if values.ndim <= 1 else values.mean(tuple(range(1, values.ndim)), dtype=torch.float64)), None
    weights = torch.as_tensor(sample_weight, device=values.device).detach().to(torch.float64)
    values, weights = same_rank(values, weights)
    if values.ndim > weights.ndim > 0:
        values = values.mean(tuple(range(weights.ndim, values.ndim)), dtype=torch.float64)
    weights = weights.broadcast_to(values.shape)
    values = values * weights
    if weights.ndim > 1:
        beyond = tuple(range(1, weights.ndim))
        return values.mean(beyond), weights.mean(beyond)
    return values, weights


class Mean(Metric):
    """The mean of values, weighted by `sample_weight` and divided by the sum of the weights: `sum(w * v) / sum(w)`.

    Variables: `total ()`, `count ()`.

    Example:
        >>> float(Mean()([1.0, 3.0, 5.0, 7.0], sample_weight=[1, 1, 0, 0]))
        2.0
    """

    def __init__(self, name: str | None = "mean", dtype: str | None = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable((), "total")
        self.count = self.add_variable((), "count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values, weights = _by_sample(values, sample_weight)
        self.total.add_(values.sum(dtype=torch.float64))
        if weights is None:
            self.count.add_(values.shape[0] if values.ndim else 1)
        else:
            self.count.add_(weights.sum())

    def result(self) -> Tensor:
        return divide(self.total, self.count)


class Sum(Metric):
    """The sum of values, each times its weight. Variable: `total ()`.

    Example:
        >>> float(Sum()([1.0, 3.0, 5.0, 7.0], sample_weight=[1, 1, 0, 0]))
        4.0
    """

    def __init__(self, name: str | None = "sum", dtype: str | None = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable((), "total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values = torch.as_tensor(values).detach()
        if sample_weight is not None:
            weights = torch.as_tensor(sample_weight, device=values.device).detach().to(torch.float64)
            values, weights = same_rank(values, weights)
            while 0 < weights.ndim < values.ndim:
                weights = weights.unsqueeze(-1)
            values = values * weights
        self.total.add_(values.sum(dtype=torch.float64))

    def result(self) -> Tensor:
        return self.total.clone()


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred)`, which gives a value for each sample.

    Args:
        fn: the function, or a loss, whose values before the reduction count.
        name: the name in the logs; the function's unless given.
        kwargs: passed on to `fn`.

    A mask that a layer left on `y_pred` takes its steps out of the mean.
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: str | None = None, **kwargs: Any) -> None:
        values_of_loss = getattr(fn, "call", None)
        super().__init__(name or getattr(fn, "name", None) or getattr(fn, "__name__", None) or "mean_metric_wrapper", dtype)
        self.fn = fn
        self._fn = values_of_loss if callable(values_of_loss) else fn
        self._fn_kwargs = kwargs
        if callable(values_of_loss):
            self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        counted: Tensor | None = getattr(values, "_keras_mask", None)
        if counted is not None:
            mask = counted if mask is None else mask & counted
        if mask is not None:
            weights = mask.to(torch.float64)
            if sample_weight is not None:
                weights, given = same_rank(weights, torch.as_tensor(sample_weight, dtype=torch.float64, device=weights.device))
                while 0 < given.ndim < weights.ndim:
                    given = given.unsqueeze(-1)
                weights = weights * given
            sample_weight = weights
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Holds the function itself: it is code and belongs to the script."""
        return {**super().get_config(), "fn": self.fn, **self._fn_kwargs}
