"""Means and sums of values: the metrics that most others are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.metrics.base import Metric, divide
from disttrain.metrics.shapes import fitted_weights, same_rank, weights_mismatch, without_gradient

# Functions of these names measure an error, so less is better: Keras's losses.
_LESS_IS_BETTER = frozenset(
    {
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "dice",
        "hinge",
        "huber",
        "kl_divergence",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "sparse_categorical_crossentropy",
        "squared_hinge",
        "tversky",
    }
)


def masked_weights(sample_weight: Any, mask: Tensor) -> Tensor:
    """The weights with 0 where the mask is False; the mask as weights where there are none."""
    weights = mask.detach().to(torch.float64)
    if sample_weight is None:
        return weights
    given = on_device(sample_weight, weights.device).detach().to(torch.float64)
    if given.ndim > weights.ndim:
        weights, given = same_rank(weights, given)
    return weights * fitted_weights(given, weights)


def _values_and_weights(values: Any, sample_weight: Any) -> tuple[Tensor, Tensor | None]:
    """The values, and their weights of the same rank or less; a mask that lies on the values is a part of the weights."""
    mask: Tensor | None = getattr(values, "_keras_mask", None)
    values = torch.as_tensor(values).detach()
    if mask is not None:
        sample_weight = masked_weights(sample_weight, mask)
    if sample_weight is None:
        return values, None
    weights = on_device(sample_weight, values.device).detach().to(torch.float64)
    values, weights = same_rank(values, weights)
    fits = weights.ndim <= values.ndim and all(w in (1, v) for w, v in zip(weights.shape, values.shape, strict=False))
    if not fits:
        raise weights_mismatch("sample_weight", weights.shape, values.shape)
    return values, weights


class Mean(Metric):
    """The mean of values, weighted by `sample_weight` and divided by the sum of the weights: `sum(w * v) / sum(w)`.

    Values of `(samples, ...)` are averaged to one for each sample first, and so are weights of several axes.

    Variables: `total ()`, `count ()`.

    Example:
        >>> float(Mean()([1.0, 3.0, 5.0, 7.0], sample_weight=[1, 1, 0, 0]))
        2.0
    """

    def __init__(self, name: str | None = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable(name="total")
        self.count = self.add_variable(name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values, weights = _values_and_weights(values, sample_weight)
        if weights is None:
            total = values.sum(dtype=torch.float64)
            each = math.prod(values.shape[1:])
            self.total.add_(total if each == 1 else total / each)
            self.count.add_(values.shape[0] if values.ndim else 1)
            return
        if values.ndim and not weights.ndim:
            weights = weights.expand(values.shape[0])
        if values.ndim > weights.ndim:
            values = values.mean(tuple(range(weights.ndim, values.ndim)), dtype=torch.float64)
        total, count = (values * weights).sum(), weights.broadcast_to(values.shape).sum()
        each = math.prod(values.shape[1:])
        self.total.add_(total if each == 1 else total / each)
        self.count.add_(count if each == 1 else count / each)

    def result(self) -> Tensor:
        return divide(self.total, self.count)


class Sum(Metric):
    """The sum of values, each times its weight. Variable: `total ()`.

    Example:
        >>> float(Sum()([1.0, 3.0, 5.0, 7.0], sample_weight=[1, 1, 0, 0]))
        4.0
    """

    def __init__(self, name: str | None = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable(name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values, weights = _values_and_weights(values, sample_weight)
        if weights is None:
            self.total.add_(values.sum(dtype=torch.float64))
            return
        if values.ndim > weights.ndim:
            values = values.sum(tuple(range(weights.ndim, values.ndim)), dtype=torch.float64)
        self.total.add_((values * weights).sum())

    def result(self) -> Tensor:
        return self.total.clone()


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred)`, which gives a value for each sample.

    Args:
        fn: the function, or a loss, whose values before the reduction count.
        name: the name in the logs.
        kwargs: passed on to `fn`.

    A mask that a layer left on `y_pred` takes its steps out of the mean. A function that gives one number for a batch is taken to give
    the mean over its samples: it counts once for each of them, so that batches, and slices of them, may differ in size. (Keras counts it
    once for each batch.)

    Example:
        >>> def largest_error(y_true, y_pred):
        ...     return (y_true - y_pred).abs().amax(-1)
        >>> float(MeanMetricWrapper(largest_error)(torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [2.0, 0.0]])))
        2.5
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: str | None = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise ValueError(f"MeanMetricWrapper(fn={fn!r}): expected a function (y_true, y_pred) or a loss.")
        super().__init__(name, dtype)
        values_of_loss = getattr(fn, "call", None)  # a loss by itself would give the mean over a batch
        self.fn = fn
        self._fn = values_of_loss if callable(values_of_loss) else fn
        self._fn_kwargs = kwargs
        if callable(values_of_loss) or getattr(fn, "__name__", "") in _LESS_IS_BETTER:
            self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        if isinstance(y_true, np.ndarray | list | tuple | int | float):
            y_true = torch.as_tensor(y_true)
        values = self._fn(y_true, without_gradient(y_pred), **self._fn_kwargs)
        if mask is not None:
            sample_weight = masked_weights(sample_weight, mask)
        if not (values.ndim if isinstance(values, Tensor) else torch.as_tensor(values).ndim):
            shape = torch.as_tensor(y_pred).shape[:1] if sample_weight is None else torch.as_tensor(sample_weight).shape
            values = torch.as_tensor(values).expand(shape)
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Holds the function itself: it is code and belongs to the script."""
        return {**super().get_config(), "fn": self.fn, **self._fn_kwargs}


class MeanOfOwnFunction(MeanMetricWrapper):
    """Base of the metrics that bring their function: the config holds its arguments, and each is an attribute, as in Keras."""

    def __init__(self, fn: Callable[..., Any], name: str | None, dtype: str | None, **kwargs: Any) -> None:
        super().__init__(fn, name, dtype, **kwargs)
        vars(self).update(kwargs)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}


def check_axis(metric: str, axis: Any) -> None:
    """Raises ValueError for an axis that is no number, or is that of the samples: what is reduced over it has no value for each."""
    if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
        raise ValueError(f"{metric}(axis={axis!r}): expected an integer other than 0, the axis of the samples.")
