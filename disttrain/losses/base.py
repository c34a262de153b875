"""What every loss does: values for each sample, weights and mask, then one number."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.losses.divisors import batch_divisor
from disttrain.losses.shapes import as_prediction, same_rank

_MEANS = ("sum_over_batch_size", "mean")
REDUCTIONS = (*_MEANS, "mean_with_sample_weight", "sum", "none", None)
_FLOATS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
_HALVES = (torch.bfloat16, torch.float16)


_fraction: ContextVar[float] = ContextVar("slice_fraction", default=1.0)  # for a `__call__` that hands none on


class CalledAsInKeras:
    """A loss whose class has a `__call__(y_true, y_pred, sample_weight)` of its own, which may ask that of `Loss`."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss

    @property
    def called(self) -> Any:
        """The loss itself."""
        return self.__dict__["_loss"]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, slice_fraction: float = 1.0) -> Any:
        token = _fraction.set(slice_fraction)
        try:
            return self._loss(y_true, y_pred, sample_weight)
        finally:
            _fraction.reset(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.called, name)


def with_fraction(loss: Any) -> Any:
    """`loss`, so that it can be called with the fraction of a slice."""
    if not isinstance(loss, Loss):
        return loss
    parameters = inspect.signature(type(loss).__call__).parameters.values()
    takes = any(parameter.name == "slice_fraction" or parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return loss if takes else CalledAsInKeras(loss)


class Loss:
    """Base class: a subclass defines `call(y_true, y_pred)`, which gives a value for each sample, `(n,)` or `(n, steps)`.

    Args:
        name: how the loss is called in messages and configs; None makes `my_loss` of a class `MyLoss`.
        reduction: `"sum_over_batch_size"` (the same as `"mean"`) divides the weighted sum by the number of values, not by the sum
            of the weights; `"mean_with_sample_weight"` divides by the weights; `"sum"` adds; None or `"none"` leaves the values.
        dtype: what to compute in, such as `"float64"`; None is that of the predictions, but float32 for those of half precision.

    A batch is cut into slices and the runtime adds the slices' means, each times its share of the samples. A mean over samples comes
    out as the mean over the batch. `"sum"` is divided by the share here, so that the sum over the batch comes out. Where the divisor is
    not the number of samples (`"mean_with_sample_weight"`, a mask), it is that of the whole batch: see `batch_divisor`. A loss that is
    one number for all samples together is one for each slice, and the batch has their mean by samples.

    Shapes: `y_true` and `y_pred` `(n, ...)`, as the subclass says; `sample_weight` `(n,)` or the shape of the values.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes of targets, outputs and weights that do not fit each other.

    Example:
        >>> from disttrain.losses import MeanSquaredError
        >>> float(MeanSquaredError()([0.0, 0.0], [1.0, 2.0], sample_weight=[1.0, 0.0]))
        0.5
    """

    _elementwise = False  # does each output have a target of its own?

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | torch.dtype | None = None
    ) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}(reduction={reduction!r}): Invalid value for argument `reduction`. "
                f"Expected one of {list(REDUCTIONS)}."
            )
        self.name = name or _snake_case(type(self).__name__)
        self.reduction = reduction
        self.dtype = self._dtype(dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample: the mean over the last axis, or the sum over classes."""
        raise NotImplementedError(f"{type(self).__name__} must define call(self, y_true, y_pred).")

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        """The mean of `call` over the samples in fewer kernels than that takes, or None where there is no such way."""
        return None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, slice_fraction: float = 1.0) -> Tensor:
        """The loss as one number, or as values where there is no reduction.

        Args:
            y_true, y_pred: targets and predictions; a mask that a layer left on `y_pred` takes its steps out of the mean.
            sample_weight: weights for the values, `(n,)` or of the values' shape.
            slice_fraction: samples of this slice over samples of the batch, in (0, 1].

        Raises:
            DataError: shapes of targets, predictions, weights or mask that do not fit each other.
        """
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        outputs = self._exact(as_prediction(y_pred))
        targets = on_device(y_true, outputs.device)
        if sample_weight is None and mask is None and self.reduction in _MEANS and (mean := self.mean(targets, outputs)) is not None:
            return mean
        weights = None if sample_weight is None else on_device(sample_weight, outputs.device, outputs.dtype)
        by_step = mask is not None or (weights is not None and weights.ndim > 1)
        if by_step and self._elementwise and outputs.ndim == targets.ndim + 1 > 2 and outputs.shape[-1] == 1:
            targets = targets.unsqueeze(-1)  # (n, steps) and (n, steps, 1): one value for each step, where Keras makes one for all
        values = self.call(targets, outputs)
        return self._reduced(values, weights, _both(mask, getattr(values, "_keras_mask", None)), slice_fraction)

    def _reduced(self, values: Tensor, weights: Tensor | None, mask: Tensor | None, slice_fraction: float) -> Tensor:
        if values.ndim == 0:  # one number for all samples together: no reduction changes it, and no sample can be weighted
            if weights is not None:
                raise DataError(
                    f"{self.name}: the loss is one number for all samples together, so that no sample can be weighted.\n"
                    "  expected  no sample_weight and no class_weight, or a loss that gives a value for each sample"
                )
            return values
        if mask is not None:
            weights = self._masked(values, weights, mask)
        if weights is not None:
            values, weights = fitted_weights("sample_weight", values, weights)
            values = values * weights
        if self.reduction in (None, "none"):
            return values
        if self.reduction == "sum":
            total, slice_fraction = values.sum(), slice_fraction if slice_fraction != 1.0 else _fraction.get()
            return total if slice_fraction == 1.0 else total / slice_fraction
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            total, divisor = values.sum(), batch_divisor(weights.sum()).to(values.dtype)
            return torch.where(divisor == 0, torch.zeros_like(total), total / torch.where(divisor == 0, 1.0, divisor))
        return values.mean() if values.numel() else values.sum()

    def _masked(self, values: Tensor, weights: Tensor | None, mask: Tensor) -> Tensor:
        """Weights with the mask in them; in a mean the steps that count are scaled by total / valid, so that the others drop out."""
        share = mask.to(values.dtype)
        if self.reduction in _MEANS:
            share = share * (mask.numel() / batch_divisor(share.sum(), least=1.0))
        values, share = fitted_weights("the mask of the predictions", values, share)
        if weights is None:
            return share
        share, weights = fitted_weights("sample_weight", share, weights)
        return weights * share

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        """Look at all targets once, before training: raise DataError for one that no output of `output_shape` could match."""

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss, in JSON types. As in Keras, the dtype is there only where one was given."""
        dtype = {} if self.dtype is None else {"dtype": str(self.dtype).removeprefix("torch.")}
        return {"name": self.name, "reduction": self.reduction, **dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} reduction={self.reduction!r}>"

    def _dtype(self, given: str | torch.dtype | None) -> torch.dtype | None:
        found = _FLOATS.get(given) if isinstance(given, str) else given
        if given is not None and found not in _FLOATS.values():
            raise ValueError(f"{type(self).__name__}(dtype={given!r}): expected one of {list(_FLOATS)}, or None.")
        return found

    def _exact(self, outputs: Tensor) -> Tensor:
        """The predictions in the dtype that the loss computes in."""
        if self.dtype is not None:
            return outputs.to(self.dtype)
        return outputs.float() if outputs.dtype in _HALVES else outputs


class FunctionLoss(Loss):
    """A function `fn(y_true, y_pred)` as a loss; it returns a value for each sample, or one number.

    The targets come as Keras hands them over: in the predictions' dtype when they are floats, `(n,)` lifted to `(n, 1)` to match.

    Args:
        fn: the function; what else it takes may be given here by name.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: what the function raises where shapes do not fit; weights that do not fit its values.
    """

    _elementwise = True

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", type(fn).__name__), reduction, dtype)
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


def fitted_weights(what: str, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(values, weights): weights in a shape that multiplies the values: a weight for each sample counts for all of the sample's values."""
    if weights.ndim == 0 or weights.shape == values.shape:
        return values, weights
    fitted, lifted = same_rank(values, weights)
    while lifted.ndim < fitted.ndim:
        lifted = lifted.unsqueeze(-1)
    if lifted.ndim > fitted.ndim or any(w not in (1, v) for w, v in zip(lifted.shape, fitted.shape, strict=True)):
        raise DataError(
            f"{what} has shape {tuple(weights.shape)}, the losses have shape {tuple(values.shape)}.\n"
            "  expected  one for each sample, or for each loss\n"
            "  try       ((a, b), y) from a dataset of several inputs: three parts stand for (x, y, sample_weight)"
        )
    return fitted, lifted


def _both(mask: Tensor | None, other: Tensor | None) -> Tensor | None:
    """True where both masks are: the steps that count."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask & other


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
