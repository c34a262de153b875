"""Targets brought to the shape and dtype of predictions; a shape that does not fit is an error, never a silent broadcast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import bounds
from disttrain.errors import DataError
from disttrain.host_numbers import on_device

EPSILON = 1e-7  # Keras's fuzz factor: a cross-entropy of one output is at most -log(1e-7) = 16.1


def same_rank(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Keras's rank rule, for shapes a last axis of 1 apart: `(n,)` becomes `(n, 1)`, or `(n, t, 1)` becomes `(n, t)`."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b.unsqueeze(-1)) if b.ndim == 1 else (a.squeeze(-1), b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a.unsqueeze(-1), b) if a.ndim == 1 else (a, b.squeeze(-1))
    return a, b


def as_prediction(y_pred: Any) -> Tensor:
    """`y_pred` as a tensor of floats."""
    outputs: Tensor = torch.as_tensor(y_pred)
    return outputs if outputs.is_floating_point() else outputs.to(torch.float32)


def aligned(loss: str, y_true: Any, y_pred: Any, *, vector_is_batch: bool = True) -> tuple[Tensor, Tensor]:
    """`(y_true, y_pred)` of equal shape, the targets in the predictions' dtype.

    Args:
        vector_is_batch: `(n,)` and `(n,)` are n samples of one value and become `(n, 1)`. Keras takes them for one sample of n, whose
            mean is the same, but which cannot be weighted. A loss over classes leaves them, one sample.

    Raises:
        DataError: the shapes differ by more than the rank rule mends. torch would broadcast `(n,)` against `(n, 1)` to `(n, n)`.
    """
    y_pred = as_prediction(y_pred)
    y_true = on_device(y_true, y_pred.device, y_pred.dtype)
    if y_true.shape == y_pred.shape:
        return (y_true.unsqueeze(-1), y_pred.unsqueeze(-1)) if y_pred.ndim == 1 and vector_is_batch else (y_true, y_pred)
    fitted = same_rank(y_true, y_pred)
    if fitted[0].shape != fitted[1].shape:
        raise DataError(
            f"{loss}: y_true has shape {tuple(y_true.shape)}, y_pred has shape {tuple(y_pred.shape)}; they must have the same shape.\n"
            "  expected  equal shapes, but for a last axis of size 1"
        )
    return fitted


def labels_beside(loss: str, y_true: Any, y_pred: Any, axis: int = -1) -> tuple[Tensor, Tensor, int]:
    """(labels as integers without the class axis, predictions, the class axis counted from the front).

    Raises:
        DataError: not one label where the predictions have a row of classes.
    """
    y_pred = as_prediction(y_pred)
    labels = on_device(y_true, y_pred.device).long()
    if not -y_pred.ndim <= axis < y_pred.ndim:
        raise DataError(f"{loss}: axis={axis}, y_pred has shape {tuple(y_pred.shape)}.\n  expected  one of its axes")
    axis = axis % y_pred.ndim
    if labels.ndim == y_pred.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if labels.shape != y_pred.shape[:axis] + y_pred.shape[axis + 1 :]:
        raise DataError(
            f"{loss}: y_true has shape {tuple(labels.shape)}, y_pred has shape {tuple(y_pred.shape)}.\n"
            "  expected  one label where y_pred has a row of classes\n"
            "  try       loss='categorical_crossentropy' for one-hot targets"
        )
    return labels, y_pred, axis


def labels_in_range(loss: str, labels: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """The labels, each of which must be a class of `y_pred`; on CPUs the kernels look for themselves."""
    return bounds.kept_in(labels, y_pred.shape[axis], f"{loss}: y_true has labels") if bounds.guarded(labels.device) else labels


def classes_second(y_pred: Tensor, axis: int) -> Tensor:
    """The class axis where torch's cross-entropy wants it: a view, and for `(n, classes)` no change."""
    axis = axis % y_pred.ndim
    return y_pred if y_pred.ndim < 2 or axis == 1 else y_pred.movedim(axis, 1)
