"""A picture's file as an array."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICTURES = ("bmp", "gif", "jpeg", "jpg", "png", "webp")
MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}


def pixels_of(data: bytes | str, mode: str, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Shape (height, width, channels), from 0 to 255.

    Args:
        data: the bytes of a file, or its path.
        mode: "grayscale", "rgb" or "rgba".
        size: (height, width) that it is resized to, with Pillow's bilinear filter; None: as it is.
    """
    from PIL import Image  # late: 50 ms, and most programs read no pictures

    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as opened:
        image: Any = opened
        if size is not None and image.format == "JPEG":
            image.draft(MODES[mode], (size[1], size[0]))  # decodes no finer than is needed
        if image.mode.startswith("I"):  # 16 bits, of which the upper ones are kept
            image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        image = image.convert(MODES[mode])
        if size is not None and (size[1], size[0]) != image.size:
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        array = np.array(image)
    return array if array.ndim == 3 else array[..., None]
