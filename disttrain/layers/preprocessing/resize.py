"""Images of another size."""

from __future__ import annotations

import difflib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.fixed_order import has_own_kernels, interpolated

_MODES = ("bicubic", "bilinear", "nearest")
_MISSING = ("lanczos3", "lanczos5")


def check_interpolation(interpolation: Any, owner: str) -> str:
    """One of "bicubic", "bilinear", "nearest", in lower case."""
    lowered = interpolation.lower() if isinstance(interpolation, str) else interpolation
    if lowered in _MISSING:
        raise ValueError(f"{owner}(interpolation={interpolation!r}) is not supported: torch has no Lanczos kernel. Use 'bicubic'.")
    if lowered not in _MODES:
        nearest = difflib.get_close_matches(str(interpolation), _MODES, n=len(_MODES), cutoff=0.0)
        raise ValueError(f"{owner}(interpolation={interpolation!r}): expected one of {', '.join(nearest)}, nearest first.")
    return str(lowered)


def aspect_window(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest window in the middle of an image that has the proportions of the target."""
    window_height = max(min(height, int(float(width * target_height) / target_width)), 1)
    window_width = max(min(width, int(float(height * target_width) / target_height)), 1)
    return (height - window_height) // 2, (width - window_width) // 2, window_height, window_width


def aspect_margins(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int]:
    """(rows above and below, columns left and right) that give an image the proportions of the target."""
    padded_height = max(height, int(float(width * target_height) / target_width))
    padded_width = max(width, int(float(height * target_width) / target_height))
    return (padded_height - height) // 2, (padded_width - width) // 2


def resize(images: Tensor, height: int, width: int, interpolation: str, antialias: bool = False) -> Tensor:
    """`images`, `(batch, channels, height, width)`, of the size given and the same dtype; integers are rounded, and stay in their range."""
    x = images if images.dtype in (torch.float32, torch.float64) else images.float()
    if interpolation == "nearest":
        y = F.interpolate(x, (height, width), mode="nearest-exact")
    elif interpolation == "bilinear" and not antialias and has_own_kernels(x):
        y = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
    else:  # torch's antialias=True is wrong on the CPU where images become one pixel wide
        y = interpolated(x, height, width, interpolation, antialias)
    if images.dtype.is_floating_point or images.dtype is torch.bool:
        return y.to(images.dtype)
    limits = torch.iinfo(images.dtype)
    return y.round().clamp(limits.min, limits.max).to(images.dtype)
