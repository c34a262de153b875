"""Weights as images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

_SMALLEST_SIDE = 64  # px; what is smaller is enlarged, pixel by pixel
_MOST_TILES = 64
_BLUE = (40, 90, 200)


def weight_image(weight: np.ndarray) -> np.ndarray | None:
    """The picture of a weight, from its smallest value (black) to its largest (white); None for what has no picture.

    A vector is a row; a matrix lies on its long side; of three axes, a tile for each of the last; a kernel of a 2D convolution,
    `(height, width, channels, filters)`, a tile for each filter, in colour if it has 3 channels, else the mean over its channels.
    The lines between tiles are blue, and so is what is not a number.

    Returns:
        `(height, width, 1 or 3)`, uint8.
    """
    # Keras shows the raw values cut to 0..1, where a kernel around zero is black.
    array = np.asarray(weight, dtype=np.float64)
    array = array if array.ndim == 4 else np.squeeze(array)
    if array.ndim == 0 or array.ndim > 4 or array.size == 0:
        return None
    if array.ndim == 4:
        tiles = [array[..., number] for number in range(array.shape[-1])]
        picture = _mosaic([tile if tile.shape[-1] == 3 else tile.mean(-1, keepdims=True) for tile in tiles[:_MOST_TILES]])
    elif array.ndim == 3:
        picture = _mosaic([array[..., number, None] for number in range(min(array.shape[-1], _MOST_TILES))])
    else:
        array = array[None] if array.ndim == 1 else array
        picture = (array.T if array.shape[0] > array.shape[1] else array)[..., None]
    finite = picture[np.isfinite(picture)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scaled = (picture - low) / (high - low) if high > low else np.full_like(picture, 0.5)
    pixels = np.round(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)
    none = np.isnan(picture).any(-1)
    if none.any():
        pixels = np.where(none[..., None], np.array(_BLUE, dtype=np.uint8), pixels)
    factor = max(1, -(-_SMALLEST_SIDE // max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def image_summary(tag: str, pixels: np.ndarray) -> Any:
    """A `Summary` with one picture, `(height, width, 1 or 3)`, uint8."""
    from PIL import Image
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.image import metadata
    from tensorboard.util import tensor_util

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    height, width = pixels.shape[:2]
    tensor = tensor_util.make_tensor_proto([str(width).encode(), str(height).encode(), buffer.getvalue()], dtype=np.object_)
    shown = metadata.create_summary_metadata(display_name=None, description=None)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=shown, tensor=tensor)])


def _mosaic(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles of one shape `(height, width, channels)` in a square, with a line of NaN between them."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    height, width, channels = tiles[0].shape
    rows = -(-len(tiles) // columns)
    picture = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + 1), (number % columns) * (width + 1)
        picture[top : top + height, left : left + width] = tile
    return picture
