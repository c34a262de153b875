"""Targets brought to the shape and dtype of predictions; a shape that does not fit is an error, never a silent broadcast."""

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
    """`y_pred` as a tensor of floats."""
    outputs: Tensor = torch.as_tensor(y_pred)
    return outputs if outputs.is_floating_point() else outputs.to(torch.float32)


def aligned(loss: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """`(y_true, y_pred)` of equal shape, the targets in the predictions' dtype; `(n,)` and `(n,)` become `(n, 1)`.

    Raises:
        DataError: the shapes differ by more than the rank rule mends. torch would broadcast `(n,)` against `(n, 1)` to `(n, n)`.
    """
    y_pred = as_prediction(y_pred)
    y_true = torch.as_tensor(y_true, dtype=y_pred.dtype, device=y_pred.device)
    if y_true.shape != y_pred.shape:
        y_true, y_pred = same_rank(y_true, y_pred)
    elif y_pred.ndim == 1:  # n samples of one value, not one sample of n: Keras averages them at once and then cannot weight them
        return y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
    if y_true.shape != y_pred.shape:
        raise DataError(
            f"{loss}: y_true has shape {tuple(y_true.shape)}, y_pred has shape {tuple(y_pred.shape)}.\n"
            "  expected  equal shapes, but for a last axis of size 1"
        )
    return y_true, y_pred
