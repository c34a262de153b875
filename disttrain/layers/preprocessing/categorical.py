"""Integers as vectors of zeros and ones, or of counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import bounds
from disttrain.layers.symbolic import Shape


def check_output_mode(mode: Any, allowed: tuple[str, ...], owner: str) -> str:
    """`mode`, which has to be one of `allowed`."""
    if mode not in allowed:
        raise ValueError(f"{owner}(output_mode={mode!r}): expected one of {', '.join(map(repr, allowed))}.")
    return str(mode)


def encode(indices: Tensor, mode: str, depth: int, dtype: torch.dtype, weights: Tensor | None = None) -> Tensor:
    """The vectors of `depth` elements that stand for `indices`; see `encoded_shape`.

    Args:
        mode: "one_hot": 1 at the index; "multi_hot": for the indices along the last axis together, 1 at each; "count": how often each is
            there, or the sum of its weights.
        weights: of the shape of `indices`, for "count".

    Raises:
        ValueError: an index that is negative, or `depth` or more.
    """
    indices = indices.long()
    if bounds.guarded(indices.device):
        indices = bounds.kept_in(indices, depth, "got indices")
    elif not torch.compiler.is_compiling() and bool(((indices < 0) | (indices >= depth)).any()):
        raise ValueError(f"got indices from {int(indices.min())} to {int(indices.max())}, expected 0 to {depth - 1}.")
    shape: Any = encoded_shape(tuple(indices.shape), mode, depth)
    if mode == "one_hot":
        return torch.zeros(shape, dtype=dtype, device=indices.device).scatter_(-1, indices.reshape(*shape[:-1], 1), 1)
    if indices.ndim == 0:
        indices = indices.reshape(1)
    if weights is not None:
        hot = (indices.unsqueeze(-1) == torch.arange(depth, device=indices.device)).to(weights.dtype)
        return (hot * weights.unsqueeze(-1)).sum(-2)
    if mode == "multi_hot":
        return torch.zeros(shape, dtype=dtype, device=indices.device).scatter_(-1, indices, 1)
    counts = torch.zeros(shape, dtype=torch.int64, device=indices.device)
    return counts.scatter_add_(-1, indices, torch.ones_like(indices)).to(dtype)


def encoded_shape(shape: Shape, mode: str, depth: int) -> Shape:
    """`(..., n)` becomes `(..., depth)`; as "one_hot" `(..., n, depth)`, where an n of 1 is left out, the axis of a vector excepted."""
    if mode == "one_hot" and (len(shape) < 2 or shape[-1] != 1):
        return (*shape, depth)
    return (*shape[:-1], depth)
