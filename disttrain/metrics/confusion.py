"""Counts of right and wrong yes-or-no predictions, at one threshold or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.shapes import aligned

NEVER = -1e10  # Keras's score of a class outside the k largest, below every threshold


def thresholds_of(metric: str, thresholds: float | Sequence[float] | None, default: float) -> list[float]:
    """The thresholds as a list. Raises ValueError for one outside 0 to 1."""
    if thresholds is None:
        return [default]
    listed = [float(t) for t in thresholds] if isinstance(thresholds, Sequence) else [float(thresholds)]
    wrong = [t for t in listed if not 0.0 <= t <= 1.0]
    if wrong:
        raise ValueError(f"{metric}(thresholds={thresholds!r}): {wrong[0]} is outside 0 to 1, where thresholds of probabilities lie.")
    return listed


def prepared(
    metric: str, y_true: Any, y_pred: Any, sample_weight: Any, top_k: int | None = None, class_id: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(labels as bool, predictions, weights as float64 or None), all of one shape.

    Args:
        top_k: of each row of predictions keep the k largest; the others can exceed no threshold.
        class_id: look at this class only.
    """
    y_true, y_pred = aligned(metric, y_true, y_pred)
    weights = None
    if sample_weight is not None:
        weights = torch.as_tensor(sample_weight, device=y_pred.device).detach().to(torch.float64)
        if weights.ndim == y_pred.ndim + 1 and weights.shape[-1] == 1:
            weights = weights.squeeze(-1)
        while 0 < weights.ndim < y_pred.ndim:
            weights = weights.unsqueeze(-1)
    if top_k is not None:
        kept = torch.zeros_like(y_pred, dtype=torch.bool).scatter_(-1, y_pred.topk(top_k, dim=-1).indices, True)
        y_pred = torch.where(kept, y_pred, NEVER)
    if class_id is not None:
        if y_pred.ndim < 2:
            raise ValueError(f"{metric}(class_id={class_id}): y_pred has shape {tuple(y_pred.shape)}; expected (samples, classes).")
        y_true, y_pred = y_true[..., class_id, None], y_pred[..., class_id, None]
    if weights is not None:
        weights = weights.broadcast_to(y_pred.shape)
    return y_true.bool(), y_pred, weights


def weight_above(chosen: Tensor, y_pred: Tensor, weights: Tensor | None, thresholds: Tensor) -> Tensor:
    """The weight of the `chosen` predictions strictly above each threshold: `(thresholds,)`, float64."""
    above = (y_pred.reshape(1, -1) > thresholds.to(y_pred.dtype).reshape(-1, 1)) & chosen.reshape(1, -1)
    if weights is None:
        return above.sum(1, dtype=torch.float64)
    return torch.where(above, weights.reshape(1, -1), 0.0).sum(1)
