"""Pictures in files, as Pillow's images and as arrays."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.data.pixels import MODES
from disttrain.layers.geometry import check_data_format

_RESAMPLING = ("bicubic", "bilinear", "box", "hamming", "lanczos", "nearest")


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """A picture of a file, as Pillow has it.

    Args:
        path: of the file, or a `BytesIO`.
        color_mode: "rgb", "rgba" or "grayscale"; grayscale of 16 or 32 bits stays so.
        target_size: (height, width) that it is resized to.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".
        keep_aspect_ratio: cut off at the edges what does not fit the proportions of `target_size`.
    """
    from PIL import Image  # late: 50 ms, and most programs read no pictures

    if color_mode not in MODES:
        raise ValueError(f"load_img(color_mode={color_mode!r}): expected 'grayscale', 'rgb' or 'rgba'.")
    if isinstance(path, io.BytesIO):
        image: Any = Image.open(path)
    elif isinstance(path, str | bytes | Path):
        image = Image.open(io.BytesIO(Path(path.decode() if isinstance(path, bytes) else path).read_bytes()))
    else:
        raise TypeError(f"load_img: path is a {type(path).__name__}: expected a path or a BytesIO.")
    if not (color_mode == "grayscale" and image.mode in ("L", "I;16", "I")) and image.mode != MODES[color_mode]:
        image = image.convert(MODES[color_mode])
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    if interpolation not in _RESAMPLING:
        raise ValueError(f"load_img(interpolation={interpolation!r}): expected one of {', '.join(_RESAMPLING)}.")
    height, width = target_size
    box = None
    if keep_aspect_ratio:
        cut_height, cut_width = min(image.height, image.width * height // width), min(image.width, image.height * width // height)
        top, left = (image.height - cut_height) // 2, (image.width - cut_width) // 2
        box = (left, top, left + cut_width, top + cut_height)
    return image.resize((width, height), Image.Resampling[interpolation.upper()], box=box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A picture of Pillow as an array (rows, columns, channels), float32 unless told."""
    channels_first = check_data_format(data_format, "img_to_array") == "channels_first"
    array = np.asarray(img, dtype=dtype or "float32")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise ValueError(f"img_to_array: got shape {array.shape}: expected a picture, of two axes or three.")
    return array.transpose(2, 0, 1) if channels_first else array


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array (rows, columns, channels) as a picture of Pillow.

    Args:
        data_format: "channels_last" (also None) or "channels_first".
        scale: stretch the values so that the least is 0 and the largest 255.
        dtype: in which the array is scaled; float32 unless told.
    """
    from PIL import Image  # late: 50 ms, and most programs read no pictures

    channels_first = check_data_format(data_format, "array_to_img") == "channels_first"
    values = np.array(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=dtype or "float32")
    if values.ndim != 3:
        raise ValueError(f"array_to_img: got shape {values.shape}: expected (rows, columns, channels).")
    values = values.transpose(1, 2, 0) if channels_first else values
    if scale:
        values = values - values.min()
        values = values / values.max() * 255 if values.max() else values
    channels = values.shape[2]
    if channels in (3, 4):
        return Image.fromarray(values.astype("uint8"))
    if channels != 1:
        raise ValueError(f"array_to_img: got {channels} channels: expected 1, 3 or 4.")
    return Image.fromarray(values[..., 0].astype("int32" if values.max() > 255 else "uint8"))


def save_img(path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any) -> None:
    """Write an array as a picture.

    Args:
        path: of the file, whose ending names the format; or a file object, with `file_format`.
        scale: stretch the values so that the least is 0 and the largest 255.
        kwargs: of Pillow's `save`.
    """
    if file_format is None and isinstance(path, str | Path):
        file_format = Path(path).suffix[1:].lower()
    if file_format and file_format.lower() == "jpg":
        file_format = "jpeg"
    image = array_to_img(x, data_format, scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        warnings.warn("The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2)
        image = image.convert("RGB")
    image.save(path, format=file_format, **kwargs)
