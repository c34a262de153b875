"""Images turned at random."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.image_layer import factor_range
from disttrain.layers.preprocessing.moved_image import MovedImageLayer


class RandomRotation(MovedImageLayer):
    """When training, turn each image about its middle by a random angle. Further arguments: `MovedImageLayer`.

    Args:
        factor: the range of the angle as a share of a full turn, counter-clockwise: a pair, or f for `(-f, f)`, each from -1 to 1.

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, an unknown `fill_mode`, `interpolation` or `data_format`; an input that is neither an
            image nor a batch of images.
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(factor, "factor", "RandomRotation", -1, 1)

    def _maps(self, images: Tensor, height: int, width: int) -> tuple[Any, ...]:
        (share,) = self._uniform(images, *self.factor)
        cosine, sine = (share * 2 * math.pi).cos(), (share * 2 * math.pi).sin()
        x, y = (width - 1) / 2, (height - 1) / 2
        return cosine, -sine, x - x * cosine + y * sine, sine, cosine, y - x * sine - y * cosine

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
