"""Targets and weights brought to the shape of predictions, by the same rules as in the losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.errors import DataError


def same_rank(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Keras's rank rule, for shapes a last axis of 1 apart: `(n,)` becomes `(n, 1)`, or `(n, t, 1)` becomes `(n, t)`."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b.unsqueeze(-1)) if b.ndim == 1 else (a.squeeze(-1), b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a.unsqueeze(-1), b) if a.ndim == 1 else (a, b.squeeze(-1))
    return a, b


def as_prediction(y_pred: Any) -> Tensor:
    """`y_pred` as a tensor of floats that carries no gradient."""
    outputs: Tensor = torch.as_tensor(y_pred).detach()
    return outputs if outputs.is_floating_point() else outputs.to(torch.float32)


def aligned(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(y_true, y_pred)` of equal shape, in the predictions' dtype; `(n,)` and `(n,)` become `(n, 1)`.

    Raises:
        DataError: the shapes differ by more than the rank rule mends.
    """
    y_pred = as_prediction(y_pred)
    y_true = torch.as_tensor(y_true, device=y_pred.device).detach().to(y_pred.dtype)
    if y_true.shape != y_pred.shape:
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise mismatch(metric, y_true, y_pred)
    elif y_pred.ndim == 1:  # n samples of one value: each must count, whichever slice it is in
        return y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
    return y_true, y_pred


def labels_and_scores(metric: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(labels, scores)` for labels `(...)` or `(..., 1)` and scores `(..., classes)`; the labels come out as integers `(...)`."""
    scores = as_prediction(y_pred)
    labels = torch.as_tensor(y_true, device=scores.device).detach().long()
    if labels.ndim == scores.ndim and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    if labels.shape != scores.shape[:-1]:
        raise mismatch(metric, labels, scores, "one label where y_pred has a row of classes")
    return labels, scores


def mismatch(metric: str, y_true: Tensor, y_pred: Tensor, expected: str = "equal shapes, but for a last axis of size 1") -> DataError:
    """The error for shapes that do not fit."""
    return DataError(f"{metric}: y_true has shape {tuple(y_true.shape)}, y_pred has shape {tuple(y_pred.shape)}.\n  expected  {expected}")
