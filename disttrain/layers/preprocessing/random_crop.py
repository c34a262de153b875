"""Windows of images at random places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.preprocessing.cropped_image import CroppedImageLayer
from disttrain.layers.preprocessing.image_layer import RandomImageLayer
from disttrain.layers.randomness import uniform


class RandomCrop(CroppedImageLayer, RandomImageLayer):
    """When training, a window at a random place, the same for all images of a call; else the middle, cut to proportions and stretched.

    Images that are too small for the window are cut and stretched in training, too.

    Args:
        height, width: of the output, 1 or more.
        seed: sets this layer's draws apart from those of a layer with another seed.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, rows, columns, channels)` or without the batch. Output shape: the same with `height` and `width`.

    Raises:
        ValueError: sizes below 1, or an unknown `data_format`; an input that is neither an image nor a batch of images.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(height, width, seed=seed, data_format=data_format, name=name, **kwargs)

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        self._check_images(inputs)
        images = inputs.to(self._compute_dtype)
        if not training or not self._fits(images):
            return self._middle_resized(images)
        height, width = self._sizes(images)
        place = uniform(self, (2,), torch.device("cpu"), self.seed).tolist()  # whole numbers that the host needs
        top, left = (
            min(int(draw * (room + 1)), room) for draw, room in zip(place, (height - self.height, width - self.width), strict=True)
        )
        return self._crop(images, top, left, self.height, self.width)
