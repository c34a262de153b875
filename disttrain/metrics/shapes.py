"""Targets and weights brought to the shape of predictions, by the same rules as in the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import bounds
from disttrain.errors import DataError
from disttrain.host_numbers import on_device


def same_rank(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Keras's rank rule, for shapes a last axis of 1 apart: `(n,)` becomes `(n, 1)`, or `(n, t, 1)` becomes `(n, t)`."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b.unsqueeze(-1)) if b.ndim == 1 else (a.squeeze(-1), b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a.unsqueeze(-1), b) if a.ndim == 1 else (a, b.squeeze(-1))
    return a, b


def as_prediction(y_pred: Any) -> Tensor:
    """`y_pred` as a tensor of floats, float32 or wider."""
    outputs: Tensor = torch.as_tensor(y_pred)
    return outputs if outputs.dtype in (torch.float32, torch.float64) else outputs.to(torch.float32)


def without_gradient(values: Any) -> Tensor:
    """`values` as a tensor from which no gradient flows back."""
    tensor: Tensor = torch.as_tensor(values)
    return tensor.detach() if tensor.requires_grad else tensor


def comparable(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(y_true, y_pred)` of equal shape, each in its own dtype; `(n,)` and `(n,)` become `(n, 1)`.

    Raises:
        DataError: the shapes differ by more than the rank rule mends. torch would broadcast `(n,)` against `(n, 1)` to `(n, n)`.
    """
    y_pred = torch.as_tensor(y_pred)
    y_true = on_device(y_true, y_pred.device)
    if y_true.shape != y_pred.shape:
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise mismatch(metric, y_true, y_pred)
    elif y_pred.ndim == 1:  # n samples of one value: each must count, whichever slice it is in
        return y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
    return y_true, y_pred


def aligned(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`comparable`, both as floats in the predictions' dtype, float32 or wider."""
    y_true, y_pred = comparable(metric, y_true, as_prediction(y_pred))
    return y_true.to(y_pred.dtype), y_pred


def rows(metric: str, y_true: Any, y_pred: Any, *, mend_rank: bool = False) -> tuple[Tensor, Tensor]:
    """`(y_true, y_pred)` of one shape `(samples, ..., classes)`, both as floats in the predictions' dtype.

    Args:
        mend_rank: targets `(n,)` may meet predictions `(n, 1)`.

    Raises:
        DataError: the shapes differ, or there is one axis only, which would be taken for the classes of one sample.
    """
    y_pred = as_prediction(y_pred)
    y_true = on_device(y_true, y_pred.device).to(y_pred.dtype)
    if mend_rank:
        y_true, y_pred = same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape or y_pred.ndim < 2:
        raise mismatch(metric, y_true, y_pred, "both (samples, ..., classes)")
    return y_true, y_pred


def labels_and_scores(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(labels, scores)` for labels `(...)` or `(..., 1)` and scores `(..., classes)`; the labels come out as `(...)`."""
    scores = torch.as_tensor(y_pred)
    labels = on_device(y_true, scores.device)
    if labels.ndim == scores.ndim and labels.shape[-1:] == (1,):
        labels = labels.squeeze(-1)
    if scores.ndim < 2 or labels.shape != scores.shape[:-1]:
        raise mismatch(metric, labels, scores, "one label where y_pred has a row of classes")
    return labels, scores


def score_of_label(metric: str, labels: Tensor, scores: Tensor) -> Tensor:
    """The score of each label, `(..., 1)`: labels `(...)`, scores `(..., classes)`.

    Raises:
        DataError: a label outside the classes.
    """
    if bounds.guarded(labels.device):
        labels = bounds.kept_in(labels.long(), scores.shape[-1], f"{metric}: y_true has labels")
    try:
        return scores.gather(-1, labels.long().unsqueeze(-1))
    except RuntimeError:
        if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= scores.shape[-1]):
            found = f"labels from {int(labels.min())} to {int(labels.max())}"
            raise DataError(f"{metric}: y_true has {found}.\n  expected  0 to {scores.shape[-1] - 1}, the classes of y_pred") from None
        raise


def fitted_weights(weights: Any, values: Tensor, name: str = "sample_weight") -> Tensor:
    """`weights` as float64 with as many axes as `values`: a weight of a sample counts for all that the sample holds.

    Raises:
        DataError: an axis has another size than that of the values, or there are too many axes.
    """
    given = on_device(weights, values.device).detach().to(torch.float64)
    fitted = given.squeeze(-1) if given.ndim == values.ndim + 1 and given.shape[-1] == 1 else given
    while 0 < fitted.ndim < values.ndim:
        fitted = fitted.unsqueeze(-1)
    if fitted.ndim and (fitted.ndim > values.ndim or any(w not in (1, v) for w, v in zip(fitted.shape, values.shape, strict=True))):
        raise weights_mismatch(name, given.shape, values.shape)
    return fitted


def mismatch(metric: str, y_true: Tensor, y_pred: Tensor, expected: str = "equal shapes, but for a last axis of size 1") -> DataError:
    """The error for shapes that do not fit."""
    return DataError(f"{metric}: y_true has shape {tuple(y_true.shape)}, y_pred has shape {tuple(y_pred.shape)}.\n  expected  {expected}")


def weights_mismatch(name: str, weights: Sequence[int], values: Sequence[int]) -> DataError:
    """The error for weights that fit no axis."""
    return DataError(
        f"{name} has shape {tuple(weights)}, the values it weighs have shape {tuple(values)}.\n"
        "  expected  a weight for each sample, or one for each value"
    )
