"""Limits on the length of gradients. Each gives new tensors: the gradients handed in stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_each_value(grads: list[Tensor], limit: float) -> list[Tensor]:
    """No entry larger than `limit`, by size."""
    return [grad.clamp(-limit, limit) for grad in grads]


def clip_each_norm(grads: list[Tensor], limit: float) -> list[Tensor]:
    """No gradient of a variable longer than `limit` (Euclidean norm)."""
    scales = limit / torch.stack(torch._foreach_norm(grads)).clamp(min=limit)
    return [grad * scale for grad, scale in zip(grads, scales.unbind(), strict=True)]


def clip_global_norm(grads: list[Tensor], limit: float) -> list[Tensor]:
    """All gradients together no longer than `limit`. NaN and infinity stay visible: NaN passes through, and infinity times 0 is NaN."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    scale = limit / norm.clamp(min=limit)
    return [grad * scale for grad in grads]
