"""class_weight as the weight of each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def class_weights(y: Any, weights: dict[int, float]) -> Tensor:
    """The weight of each sample, by its class; a class that is not listed weighs 1.

    Args:
        y: labels (n,) or (n, 1), rounded where they are floats, or one-hot (n, ..., classes).
        weights: by label.
    """
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(y.shape[:-1] if y.ndim > 1 else y.shape)
    labels = labels.round().long() if labels.is_floating_point() else labels.long()
    known = {int(label): float(weight) for label, weight in weights.items() if int(label) >= 0}
    table = torch.ones(max([int(labels.max()) if labels.numel() else 0, *known]) + 1, device=labels.device)
    for label, weight in known.items():
        table[label] = weight
    return table[labels] if not labels.numel() or int(labels.min()) >= 0 else torch.where(labels < 0, 1.0, table[labels.clamp(min=0)])
