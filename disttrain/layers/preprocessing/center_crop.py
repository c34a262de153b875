"""The middle of images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.cropped_image import CroppedImageLayer


class CenterCrop(CroppedImageLayer):
    """The middle of images; those that are too small are cut to the right proportions and stretched.

    Args:
        height, width: of the output, 1 or more.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, rows, columns, channels)` or without the batch. Output shape: the same with `height` and `width`.

    Raises:
        ValueError: sizes below 1, or an unknown `data_format`; an input that is neither an image nor a batch of images.

    Example:
        >>> import torch
        >>> CenterCrop(1, 2)(torch.arange(12.0).reshape(3, 4, 1)).flatten()
        tensor([5., 6.])
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(height, width, data_format=data_format, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        self._check_images(inputs)
        images = inputs.to(self._compute_dtype)
        if not self._fits(images):
            return self._middle_resized(images)
        height, width = self._sizes(images)
        return self._crop(images, (height - self.height) // 2, (width - self.width) // 2, self.height, self.width)
