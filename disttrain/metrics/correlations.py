"""Pearson's and Lin's correlation of targets and predictions, within each sample or over all samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.metrics.base import Variable
from disttrain.metrics.reductions import MeanOfOwnFunction
from disttrain.metrics.shapes import as_prediction, fitted_weights, mismatch, same_rank, without_gradient

EPSILON = 1e-7
ROUNDING = 1e-12  # of a variance, relative to the mean of squares, from which it was computed in float64


class Moments(NamedTuple):
    """Means, variances and covariance of targets and predictions."""

    mean_true: Tensor
    mean_pred: Tensor
    variance_true: Tensor
    variance_pred: Tensor
    covariance: Tensor

    @classmethod
    def along(cls, y_true: Tensor, y_pred: Tensor, axis: int) -> Moments:
        """Of the values along an axis."""
        mean_true, mean_pred = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
        from_true, from_pred = y_true - mean_true, y_pred - mean_pred
        covariance = (from_true * from_pred).mean(axis)
        return cls(
            mean_true.squeeze(axis), mean_pred.squeeze(axis), from_true.square().mean(axis), from_pred.square().mean(axis), covariance
        )

    @classmethod
    def of_sums(cls, sums: Tensor) -> Moments:
        """Of the sums of 1, t, p, t**2, p**2 and t * p. A variance that is nothing but rounding is 0."""
        mean_true, mean_pred, square_true, square_pred, product = sums[1:] / sums[0]
        variances = []
        for mean, square in ((mean_true, square_true), (mean_pred, square_pred)):
            variance = square - mean.square()
            variances.append(torch.where(variance > ROUNDING * square, variance, 0.0))
        return cls(mean_true, mean_pred, variances[0], variances[1], product - mean_true * mean_pred)


def _pearson(m: Moments) -> Tensor:
    return m.covariance / (m.variance_true * m.variance_pred).sqrt()


def _concordance(m: Moments) -> Tensor:
    return 2.0 * m.covariance / (m.variance_true + m.variance_pred + (m.mean_true - m.mean_pred).square() + EPSILON)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """`cov(t, p) / sqrt(var(t) * var(p))` along `axis`, NaN where one is constant: `(n, d) -> (n,)`."""
    return _pearson(Moments.along(*_same_shape("pearson_correlation", y_true, y_pred), axis))


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """`2 * cov(t, p) / (var(t) + var(p) + (mean(t) - mean(p))**2 + 1e-7)` along `axis` (Lin 1989): `(n, d) -> (n,)`."""
    return _concordance(Moments.along(*_same_shape("concordance_correlation", y_true, y_pred), axis))


def _same_shape(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = as_prediction(y_pred)
    y_true, y_pred = same_rank(on_device(y_true, y_pred.device).to(y_pred.dtype), y_pred)
    if y_true.shape != y_pred.shape:
        raise mismatch(metric, y_true, y_pred)
    return y_true, y_pred


class _Correlation(MeanOfOwnFunction):
    """Base: the mean over samples of the correlation within each, or, where `axis` is that of the samples, one correlation over all."""

    _direction = "up"

    def __init__(self, fn: Callable[..., Tensor], of: Callable[[Moments], Tensor], name: str | None, dtype: str | None, axis: int) -> None:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ValueError(f"{type(self).__name__}(axis={axis!r}): expected an integer.")
        super().__init__(fn, name, dtype, axis=axis)
        self.axis = axis
        self._of = of
        self.moments: Variable | None = None

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        rank = len(y_pred_shape)
        if not -rank <= self.axis < rank:
            raise ValueError(f"{type(self).__name__}(axis={self.axis}): y_pred has shape {tuple(y_pred_shape)}, which has no such axis.")
        if self.axis % rank:
            if y_pred_shape[self.axis] < 2:
                raise ValueError(
                    f"{type(self).__name__}(axis={self.axis}): y_pred has shape {tuple(y_pred_shape)}; one value has no correlation.\n"
                    "  try       axis=0, for the correlation over the samples"
                )
        elif self.moments is None:
            self.moments = self.add_variable((6, *y_pred_shape[1:]), name="moments")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        shape = tuple(torch.as_tensor(y_pred).shape)
        self.build(None, shape)
        if self.axis % len(shape):
            super().update_state(y_true, y_pred, sample_weight)
            return
        assert self.moments is not None
        targets, outputs = _same_shape(self.name, y_true, without_gradient(y_pred))
        t, p = targets.to(torch.float64).reshape(shape), outputs.to(torch.float64).reshape(shape)
        if self.moments.shape[1:] != t.shape[1:]:
            raise DataError(f"{type(self).__name__}: y_pred has shape {shape}, and had {('n', *self.moments.shape[1:])} before.")
        terms = torch.stack((torch.ones_like(t), t, p, t * t, p * p, t * p))
        if sample_weight is not None:
            terms = terms * fitted_weights(sample_weight, t)
        self.moments.add_(terms.sum(1))

    def result(self) -> Tensor:
        return super().result() if self.moments is None else self._of(Moments.of_sums(self.moments)).mean()


class PearsonCorrelation(_Correlation):
    """Pearson's correlation, from -1 to 1: how near targets and predictions are to a straight line.

    Args:
        axis: along which the values of one correlation lie. -1: those of each sample, and the mean over the samples is the result.
            0: those of all samples, one correlation for each output, and the mean over the outputs is the result.

    Variables: `total ()`, `count ()`; with axis 0 also `moments (6, outputs)`, the sums of 1, t, p, t**2, p**2 and t * p. Sums in float64
    lose digits where the mean is thousands of times the spread; below 1e-12 of the mean square a variance counts as 0.

    Example:
        >>> round(float(PearsonCorrelation(axis=0)([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]])), 4)
        0.982
    """

    def __init__(self, name: str | None = "pearson_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, _pearson, name, dtype, axis)


class ConcordanceCorrelation(_Correlation):
    """Lin's concordance correlation, from -1 to 1: how near targets and predictions are to equal.

    Args and variables as `PearsonCorrelation` has them.

    Example:
        >>> round(float(ConcordanceCorrelation(axis=0)([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]])), 4)
        0.8571
    """

    def __init__(self, name: str | None = "concordance_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, _concordance, name, dtype, axis)
