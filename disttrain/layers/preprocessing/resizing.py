"""Images of one size, by stretching."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.geometry import integer
from disttrain.layers.preprocessing.image_layer import SizedImageLayer
from disttrain.layers.preprocessing.resize import aspect_margins, aspect_window, check_interpolation, resize


class Resizing(SizedImageLayer):
    """Images of `height` and `width` pixels; their dtype stays, so bytes remain bytes.

    Args:
        height, width: of the output, 1 or more.
        interpolation: "bilinear", "nearest" or "bicubic" (Keys 1981, a = -0.5, as TensorFlow and JAX have it).
        crop_to_aspect_ratio: keep proportions: cut off what is too long, evenly at both ends.
        pad_to_aspect_ratio: keep proportions: add to what is too short, evenly at both ends.
        fill_mode: "constant".
        fill_value: of what is added.
        antialias: let each pixel be made of all those that it covers; without effect on "nearest".
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, rows, columns, channels)` or without the batch. Output shape: the same with `height` and `width`.

    Raises:
        ValueError: sizes below 1, an unknown `interpolation`, `fill_mode` or `data_format`, cropping and padding to the aspect ratio at
            once; an input that is neither an image nor a batch of images.

    Example:
        >>> import torch
        >>> Resizing(1, 2)(torch.tensor([[[0.0], [2.0]], [[4.0], [6.0]]])).flatten()
        tensor([2., 4.])
    """

    _output_keeps_dtype = True

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width = integer(height, "height", "Resizing"), integer(width, "width", "Resizing")
        self.interpolation = check_interpolation(interpolation, "Resizing")
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True): expected one of the two at most.")
        if fill_mode != "constant":
            raise ValueError(f"Resizing(fill_mode={fill_mode!r}): expected 'constant', the only one that Keras has too.")
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        self.fill_mode, self.fill_value, self.antialias = fill_mode, fill_value, bool(antialias)

    def call(self, inputs: Tensor) -> Tensor:
        self._check_images(inputs)
        size, target = self._sizes(inputs), (self.height, self.width)
        images = inputs if inputs.ndim == 4 else inputs[None]
        if self.crop_to_aspect_ratio:
            images = self._crop(images, *aspect_window(*size, *target))
        if self.data_format == "channels_last":
            images = images.permute(0, 3, 1, 2)
        if self.pad_to_aspect_ratio:
            above, left = aspect_margins(*size, *target)
            images = F.pad(images, (left, left, above, above), value=self.fill_value)
        images = resize(images, *target, self.interpolation, self.antialias)
        if self.data_format == "channels_last":
            images = images.permute(0, 2, 3, 1)
        return images if inputs.ndim == 4 else images[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }
