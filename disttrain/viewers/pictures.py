"""Image files in, small PNG pictures out."""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np

from disttrain.viewers.input_specs import InputSpec
from disttrain.viewers.refusal import Refusal

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]
MAX_PIXELS = 50_000_000
_SIDE_PIXELS = 256


def read_image(file: IO[bytes], name: str) -> Any:
    """The first frame of an image file, as PIL has it.

    Raises:
        Refusal: no image, a damaged one, or one so large that it would fill the memory.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Any = Image.open(file, formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Refusal(413, f"{name} has {image.width} x {image.height} pixels: expected {MAX_PIXELS} at most")
        image.load()
        image = ImageOps.exif_transpose(image)
    except Refusal:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise Refusal(413, f"{name} has too many pixels: expected {MAX_PIXELS} at most") from None
    except UnidentifiedImageError:
        raise Refusal(422, f"{name} is no image that can be read: it is none of {', '.join(_FORMATS)}") from None
    except Exception as error:  # damaged files have many ways to fail, and each format its own
        raise Refusal(422, f"{name} is no image that can be read: {type(error).__name__}: {error}") from None
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more, which convert() would clip
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
    return image


def thumbnail(values: np.ndarray, spec: InputSpec | None) -> bytes:
    """A PNG of an input as the model gets it: an image, or a heat map with time from left to right."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
    if spec is not None and spec.kind == "image":
        pixels = np.moveaxis(values, 0, -1) if spec.channels_axis == 0 else values
    elif values.ndim == 2:
        pixels = values.T  # (time, features): features from top to bottom
    else:
        pixels = values.reshape(1, -1) if values.ndim < 2 else values.reshape(values.shape[0], -1)
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels[:, :, 0]
    if pixels.size == 0:
        pixels = np.zeros((1, 1), np.float32)
    least, most = float(pixels.min()), float(pixels.max())
    if least >= 0.0 and most <= 255.0:  # the range the values have in the model, so that a dark picture looks dark
        least, most = 0.0, 1.0 if most <= 1.0 else 255.0
    grey = np.clip((pixels - least) * (255.0 / max(most - least, 1e-12)), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(grey))
    if max(image.size) > _SIDE_PIXELS:
        ratio = _SIDE_PIXELS / max(image.size)
        image = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), 2)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
