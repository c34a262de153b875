"""Images seen through an affine map of their coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def affine_transform(
    images: Tensor, transform: Tensor, interpolation: str = "bilinear", fill_mode: str = "constant", fill_value: float = 0.0
) -> Tensor:
    """Images whose pixel (x, y) is what the input has at `(a0 x + a1 y + a2, b0 x + b1 y + b2)`, pixels having integer coordinates.

    Args:
        images: `(batch, height, width, channels)`, float.
        transform: `(batch, 6)`: a0, a1, a2, b0, b1, b2 of each image.
        interpolation: "bilinear" or "nearest".
        fill_mode: what is beyond the edges of abcd: "constant" kkkk|abcd|kkkk, "nearest" aaaa|abcd|dddd, "reflect" dcba|abcd|dcba, "wrap"
            abcd|abcd|abcd.
        fill_value: k of "constant".
    """
    _, height, width, _ = images.shape
    x = torch.arange(width, dtype=transform.dtype, device=images.device)
    y = torch.arange(height, dtype=transform.dtype, device=images.device)[:, None]
    a0, a1, a2, b0, b1, b2 = (column.reshape(-1, 1, 1) for column in transform.unbind(1))
    columns, rows = a0 * x + a1 * y + a2, b0 * x + b1 * y + b2  # (batch, height, width)
    total: Tensor | None = None
    for row, row_weight in _nodes(rows, interpolation):
        for column, column_weight in _nodes(columns, interpolation):
            value = _pixels(images, row, column, fill_mode, fill_value)
            if row_weight is not None and column_weight is not None:
                value = (row_weight * column_weight).unsqueeze(-1) * value
            total = value if total is None else total + value
    assert total is not None
    return total.to(images.dtype)


def _nodes(places: Tensor, interpolation: str) -> list[tuple[Tensor, Tensor | None]]:
    """The pixels along one axis that make the value at `places`, and how much each of them weighs; None for all."""
    if interpolation == "nearest":
        return [(places.round().long(), None)]
    lower = places.floor()
    weight = places - lower
    index = lower.long()
    return [(index, 1 - weight), (index + 1, weight)]


def _pixels(images: Tensor, rows: Tensor, columns: Tensor, fill_mode: str, fill_value: float) -> Tensor:
    """(batch, height, width, channels) of what is at these integer coordinates."""
    batch, height, width, _ = images.shape
    number = torch.arange(batch, device=images.device).reshape(-1, 1, 1)
    found = images[number, _inside(rows, height, fill_mode), _inside(columns, width, fill_mode)]
    if fill_mode != "constant":
        return found
    there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(there.unsqueeze(-1), found, fill_value)


def _inside(index: Tensor, size: int, fill_mode: str) -> Tensor:
    """The pixel that stands for the one at `index`, which may be beyond the edge."""
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "reflect":
        folded = index % (2 * size)
        return torch.minimum(folded, 2 * size - 1 - folded)
    return index.clamp(0, size - 1)
