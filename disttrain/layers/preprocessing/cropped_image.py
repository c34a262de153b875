"""Windows of images: what these layers have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import integer
from disttrain.layers.preprocessing.image_layer import SizedImageLayer
from disttrain.layers.preprocessing.resize import aspect_window, resize


class CroppedImageLayer(SizedImageLayer):
    """A window of each image, all of one size.

    Args:
        height, width: of the window, 1 or more.
    """

    def __init__(self, height: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = integer(height, "height", type(self).__name__)
        self.width = integer(width, "width", type(self).__name__)

    def _fits(self, images: Tensor) -> bool:
        height, width = self._sizes(images)
        return height >= self.height and width >= self.width

    def _middle_resized(self, images: Tensor) -> Tensor:
        """The largest window in the middle that has the right proportions, stretched to the right size."""
        x = self._crop(images, *aspect_window(*self._sizes(images), self.height, self.width))
        batch = x if x.ndim == 4 else x[None]
        batch = batch.permute(0, 3, 1, 2) if self.data_format == "channels_last" else batch
        batch = resize(batch, self.height, self.width, "bilinear")
        batch = batch.permute(0, 2, 3, 1) if self.data_format == "channels_last" else batch
        return batch if x.ndim == 4 else batch[0]
