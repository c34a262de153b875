"""Images of another size."""

from __future__ import annotations

import difflib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
    elif interpolation == "bilinear" and not antialias:
        y = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
    else:  # torch's antialias=True is wrong on the CPU where images become one pixel wide
        rows = _weights(x.shape[-2], height, interpolation, antialias).to(x)
        y = rows @ x @ _weights(x.shape[-1], width, interpolation, antialias).to(x).T
    if images.dtype.is_floating_point or images.dtype is torch.bool:
        return y.to(images.dtype)
    limits = torch.iinfo(images.dtype)
    return y.round().clamp(limits.min, limits.max).to(images.dtype)


def _weights(size: int, target: int, interpolation: str, antialias: bool) -> Tensor:
    """(target, size), float64: row i holds the weights of the pixels that make pixel i.

    "bilinear" is a triangle of width 2, "bicubic" the curve of Keys 1981 with a = -0.5, as TensorFlow, JAX and Pillow have it (torch's own,
    without antialias, has a = -0.75). Where an image shrinks, `antialias` makes them as much wider. Where pixels are missing at the edge,
    the others weigh more.
    """
    centers = (torch.arange(target, dtype=torch.float64) + 0.5) * size / target - 0.5
    distance = (centers[:, None] - torch.arange(size, dtype=torch.float64)).abs() / (max(size / target, 1.0) if antialias else 1.0)
    if interpolation == "bilinear":
        weights = (1 - distance).clamp_min(0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)
