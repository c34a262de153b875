"""A loss of torch's as one of ours: called in torch's order, with torch's mean over the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import torch_losses
from disttrain.host_numbers import on_device
from disttrain.losses.base import FunctionLoss, Loss, fitted_weights
from disttrain.losses.divisors import batch_divisor, is_whole
from disttrain.losses.shapes import as_prediction


class LossOfTorch(Loss):
    """A class or function of torch's, with its reduction.

    - `"mean"` divides by what torch divides by, over the whole batch: the outputs, or for `CrossEntropyLoss` and `NLLLoss` with labels the
      weights of the classes of those that are not ignored. `"batchmean"` divides by the samples.
    - `"sum"` is the sum over the batch.
    - `"none"`, the values themselves, which nobody can make small, stands for their mean.

    Weights of samples multiply the values and leave the divisor as it is, as Keras's do; a mask takes its steps out of both.

    Args:
        torch_loss: the loss, as `torch_losses.find` gives it.

    Attributes:
        from_logits: does it take scores before a softmax or sigmoid? A metric chosen by shape reads the outputs in the same way.
    """

    _elementwise = True

    def __init__(self, torch_loss: torch_losses.TorchLoss) -> None:
        super().__init__(torch_loss.name, "sum" if torch_loss.reduction == "sum" else "sum_over_batch_size")
        self.torch_loss = torch_loss
        self.from_logits = torch_loss.name in ("binary_cross_entropy_with_logits", "cross_entropy")
        self._every_label_counts = False

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """The value of each sample, output or label."""
        y_pred = as_prediction(y_pred)
        return self.torch_loss.values(self.torch_loss.fitted(y_true, y_pred), y_pred)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, slice_fraction: float = 1.0) -> Tensor:
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        outputs, loss = self._exact(as_prediction(y_pred)), self.torch_loss
        target = loss.fitted(y_true, outputs)
        by_count = loss.counts and not self._every_label_counts and not target.is_floating_point()
        if sample_weight is None and mask is None and (is_whole() or not by_count):
            if loss.reduction == "sum":
                total = loss.reduced(target, outputs)
                return total if slice_fraction == 1.0 else total / slice_fraction
            by_values = loss.reduction == "none" or (loss.counts and not is_whole())  # who stands in for torch's mean would count labels
            return loss.values(target, outputs).mean() if by_values else loss.reduced(target, outputs)
        values = loss.values(target, outputs)
        shares = loss.shares(target, values)
        if mask is not None:
            values, lifted = fitted_weights("the mask of the predictions", values, mask.to(values.dtype))
            values, shares = values * lifted, shares.reshape(values.shape) * lifted
        if sample_weight is not None:
            weights = on_device(sample_weight, values.device, values.dtype)
            values, weights = fitted_weights("sample_weight", values, weights)
            values = values * weights
        total = values.sum()
        if loss.reduction == "sum":
            return total if slice_fraction == 1.0 else total / slice_fraction
        if loss.reduction == "batchmean":
            return total / outputs.shape[0]
        if not by_count and mask is None:
            return total / max(1, values.numel())
        return total / batch_divisor(shares.sum(dtype=torch.float64)).to(total.dtype)

    def note_targets(self, targets: list[np.ndarray | None]) -> None:
        """These are all that a call will bring, None where nobody knows them: if every label counts the same, nobody need count them."""
        ignored = self.torch_loss.ignore_index
        known = all(y is not None and not bool((y == ignored).any()) for y in targets)
        self._every_label_counts = self.torch_loss.counts and known and not self.torch_loss.weighs

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        self.torch_loss.check_targets(y, output_shape)


class SumOfModule(FunctionLoss):
    """A module of the script's own that says `reduction="sum"`: what it gives is a sum over the samples, not a mean."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, slice_fraction: float = 1.0) -> Tensor:
        total = super().__call__(y_true, y_pred, sample_weight, slice_fraction)
        return total if slice_fraction == 1.0 else total / slice_fraction
