"""What every loss does: values for each sample, weights and mask, then one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.losses.shapes import same_rank

_MEANS = ("sum_over_batch_size", "mean")
REDUCTIONS = (*_MEANS, "mean_with_sample_weight", "sum", "none", None)


class Loss:
    """Base class: a subclass defines `call(y_true, y_pred)`, which gives a value for each sample, `(n,)` or `(n, steps)`.

    Args:
        name: how the loss is called in messages and configs.
        reduction: `"sum_over_batch_size"` (the same as `"mean"`) divides the weighted sum by the number of values, not by the sum
            of the weights; `"mean_with_sample_weight"` divides by the weights; `"sum"` adds; None or `"none"` leaves the values.

    A batch is cut into slices and the runtime adds the slices' means, each times its share of the samples. A mean over samples comes
    out as the mean over the batch. `"sum"` is divided by the share here, so that the sum over the batch comes out. A divisor that is
    not the number of samples (`"mean_with_sample_weight"`, a mask) is that of the slice.

    Example:
        >>> from disttrain.losses import MeanSquaredError
        >>> float(MeanSquaredError()([0.0, 0.0], [1.0, 2.0], sample_weight=[1.0, 0.0]))
        0.5
    """

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size") -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"{type(self).__name__}(reduction={reduction!r}): expected one of {list(REDUCTIONS)}.")
        self.name = name or type(self).__name__
        self.reduction = reduction

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample: the mean over the last axis, or the sum over classes."""
        raise NotImplementedError(f"{type(self).__name__} must define call(self, y_true, y_pred).")

    def mean(self, y_true: Any, y_pred: Any) -> Tensor | None:
        """The mean of `call` over the samples in fewer kernels than that takes, or None where there is no such way."""
        return None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, slice_fraction: float = 1.0) -> Tensor:
        """The loss as one number, or as values where there is no reduction.

        Args:
            y_true, y_pred: targets and predictions; a mask that a layer left on `y_pred` takes its steps out of the mean.
            sample_weight: weights for the values, `(n,)` or of the values' shape.
            slice_fraction: samples of this slice over samples of the batch, in (0, 1].
        """
        plain = sample_weight is None and self.reduction in _MEANS and getattr(y_pred, "_keras_mask", None) is None
        if plain and (mean := self.mean(y_true, y_pred)) is not None:
            return mean
        values = self.call(y_true, y_pred)
        weights = _masked_weights(sample_weight, _mask(values, y_pred), values, self.reduction)
        if weights is not None:
            values, weights = _fitted(values, weights)
            values = values * weights
        if self.reduction in (None, "none"):
            return values
        if self.reduction == "sum":
            total = values.sum()
            return total if slice_fraction == 1.0 else total / slice_fraction
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            total, divisor = values.sum(), weights.sum()
            return torch.where(divisor == 0, torch.zeros_like(total), total / torch.where(divisor == 0, 1.0, divisor))
        return values.mean() if values.ndim else values

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        """Look at all targets once, before training: raise DataError for one that no output of `output_shape` could match."""

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss, in JSON types."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The inverse of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} reduction={self.reduction!r}>"


class FunctionLoss(Loss):
    """A function `fn(y_true, y_pred)` as a loss; it returns a value for each sample, or one number.

    The targets come as Keras hands them over: in the predictions' dtype when they are floats, `(n,)` lifted to `(n, 1)` to match.
    """

    def __init__(
        self, fn: Callable[..., Tensor], name: str | None = None, reduction: str | None = "sum_over_batch_size", **kwargs: Any
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", type(fn).__name__), reduction)
        self.fn, self.kwargs = fn, kwargs

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = torch.as_tensor(y_true), torch.as_tensor(y_pred)
        if y_true.is_floating_point() and y_pred.is_floating_point():
            y_true = y_true.to(y_pred.dtype)
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self.kwargs)

    def get_config(self) -> dict[str, Any]:
        """Names the function; the function itself is code and belongs to the script."""
        return {**super().get_config(), "fn": getattr(self.fn, "__qualname__", repr(self.fn)), **self.kwargs}


def _fitted(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights in a shape that multiplies the values: a weight for each sample counts for all of the sample's values."""
    if weights.ndim == 0 or weights.shape == values.shape:
        return values, weights
    values, weights = same_rank(values, weights)
    while weights.ndim < values.ndim:
        weights = weights.unsqueeze(-1)
    if any(weight not in (1, value) for weight, value in zip(weights.shape, values.shape, strict=False)) or weights.ndim > values.ndim:
        raise DataError(
            f"sample_weight has shape {tuple(weights.shape)}, the losses have shape {tuple(values.shape)}.\n"
            "  expected  a weight for each sample, or one for each loss"
        )
    return values, weights


def _mask(values: Tensor, y_pred: Any) -> Tensor | None:
    """The mask of the values and of the predictions together: True where a step counts."""
    of_values: Tensor | None = getattr(values, "_keras_mask", None)
    of_predictions: Tensor | None = getattr(y_pred, "_keras_mask", None)
    if of_values is None or of_predictions is None:
        return of_predictions if of_values is None else of_values
    return of_values & of_predictions


def _masked_weights(sample_weight: Any, mask: Tensor | None, values: Tensor, reduction: str | None) -> Tensor | None:
    """Weights with the mask in them; in a mean the steps that count are scaled by total / valid, so that the others drop out."""
    weights: Tensor | None = None if sample_weight is None else torch.as_tensor(sample_weight, dtype=values.dtype, device=values.device)
    if mask is None:
        return weights
    scaled = mask.to(values.dtype)
    if reduction in ("sum_over_batch_size", "mean"):
        scaled = scaled * (mask.numel() / scaled.sum().clamp(min=1.0))
    if weights is None:
        return scaled
    scaled, weights = same_rank(scaled, weights)
    return weights * scaled
