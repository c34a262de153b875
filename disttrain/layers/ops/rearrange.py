"""Axes taken apart, reordered and put together by a pattern of names, as einops writes it."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.ops.operation import as_tensor, with_values


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """`tensor` with its axes as the right side of `pattern` has them.

    Args:
        pattern: such as "b (h h1) w c -> b h (h1 w) c": names of axes, those in brackets being parts of one.
        axes_lengths: sizes of parts, where they do not follow from the others.

    Example:
        >>> rearrange(torch.arange(6).reshape(2, 3), "a b -> (b a)")
        tensor([0, 3, 1, 4, 2, 5])
    """
    with_values("rearrange", tensor)
    x = as_tensor(tensor)
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"rearrange: {pattern!r} has no '->', or several.")
    left, right = (_groups(side) for side in sides)
    if len(left) != x.ndim:
        raise ValueError(f"rearrange: {pattern!r} has {len(left)} axes on its left, the tensor has shape {tuple(x.shape)}.")
    lengths = dict(axes_lengths)
    for group, size in zip(left, x.shape, strict=True):
        unknown = [name for name in group if name not in lengths]
        known = math.prod(lengths[name] for name in group if name in lengths)
        if len(unknown) > 1 or (known and size % known) or (not unknown and known != size):
            raise ValueError(f"rearrange: ({' '.join(group)}) of {pattern!r} does not make an axis of size {size} with {axes_lengths}.")
        for name in unknown:
            lengths[name] = size // known
    names, wanted = ([name for group in side for name in group] for side in (left, right))
    if sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise ValueError(f"rearrange: both sides of {pattern!r} must have the same names, each once.")
    parts = x.reshape([lengths[name] for name in names])
    ordered = torch.permute(parts, [names.index(name) for name in wanted])
    return ordered.reshape([math.prod(lengths[name] for name in group) for group in right])


def _groups(side: str) -> list[list[str]]:
    return [found.strip("()").split() for found in re.findall(r"\([^)]*\)|\w+", side)]


__all__ = ["rearrange"]
