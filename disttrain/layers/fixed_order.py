"""What layers compute off the CPU where torch's kernels for CUDA add up gradients in no fixed order: the same by products and windows.

On CPUs torch's own kernels are deterministic and stay; the results differ in rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.host_numbers import on_device


def has_own_kernels(x: Tensor) -> bool:
    """Does torch compute everything that is in this module deterministically where `x` is?"""
    return x.device.type == "cpu"


def along(x: Tensor, axis: int, weights: Tensor) -> Tensor:
    """`x` with `weights`, (target, size), multiplied along `axis`, which becomes one of `target`."""
    product: Tensor = torch.tensordot(x, weights, dims=([axis], [1]))
    return product.movedim(-1, axis)


def adaptive_mean(x: Tensor, target: Sequence[int]) -> Tensor:
    """The mean of each of `target` windows over the last axes, as torch's adaptive pooling cuts them."""
    exact = x if x.dtype in (torch.float32, torch.float64) else x.float()
    for axis, size in enumerate(target, start=x.ndim - len(target)):
        exact = along(exact, axis, on_device(_shares(x.shape[axis], size), exact.device, exact.dtype))
    return exact.to(x.dtype)


def adaptive_max(x: Tensor, target: Sequence[int]) -> Tensor:
    """The largest of each of `target` windows over the last axes; of equals, one gets the gradient."""
    for axis, size in enumerate(target, start=x.ndim - len(target)):
        bounds = windows(x.shape[axis], size)
        longest = max(stop - start for start, stop in bounds)
        places = [min(start + step, stop - 1) for start, stop in bounds for step in range(longest)]  # a short one repeats its last
        gathered = x.index_select(axis, on_device(places, x.device)).unflatten(axis, (size, longest))
        x = gathered.max(axis + 1).values
    return x


def windows(size: int, target: int) -> list[tuple[int, int]]:
    """(start, stop) of each of `target` windows over an axis of `size`: from `floor(i n / m)` to `ceil((i + 1) n / m)`."""
    return [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]


def mean_of_volumes(
    x: Tensor, window: Sequence[int], strides: Sequence[int], padding: Sequence[int] = (0, 0, 0), *, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """As `F.avg_pool3d`: the mean over height and width, then of those over depth. Windows are boxes, so means of means are means."""
    batch, channels, depth, *_ = x.shape
    planes = F.avg_pool2d(x.flatten(1, 2), tuple(window[1:]), tuple(strides[1:]), tuple(padding[1:]), ceil_mode, count_include_pad)
    height, width = planes.shape[2:]
    columns = planes.reshape(batch, channels, depth, height * width)
    means = F.avg_pool2d(columns, (window[0], 1), (strides[0], 1), (padding[0], 0), ceil_mode, count_include_pad)
    return means.reshape(batch, channels, -1, height, width)


def interpolated(x: Tensor, height: int, width: int, interpolation: str, antialias: bool = False) -> Tensor:
    """Floats `(..., height, width)`, "bilinear" or "bicubic", by products with the weights of each row and column."""
    rows = on_device(interpolation_weights(x.shape[-2], height, interpolation, antialias), x.device, x.dtype)
    return rows @ x @ on_device(interpolation_weights(x.shape[-1], width, interpolation, antialias), x.device, x.dtype).T


def interpolation_weights(size: int, target: int, interpolation: str, antialias: bool) -> Tensor:
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


def _shares(size: int, target: int) -> Tensor:
    """(target, size), float64: row i holds the share of each element in the mean of window i."""
    weights = torch.zeros(target, size, dtype=torch.float64)
    for row, (start, stop) in enumerate(windows(size, target)):
        weights[row, start:stop] = 1.0 / (stop - start)
    return weights
