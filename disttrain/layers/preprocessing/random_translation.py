"""Images shifted at random."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.image_layer import factor_range
from disttrain.layers.preprocessing.moved_image import MovedImageLayer


class RandomTranslation(MovedImageLayer):
    """When training, shift each image. Further arguments: `MovedImageLayer`.

    Args:
        height_factor: the range of the shift downwards as a share of the height: a pair, or f for `(-f, f)`, each from -1 to 1.
        width_factor: that to the right as a share of the width.

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, an unknown `fill_mode`, `interpolation` or `data_format`; an input that is neither an
            image nor a batch of images.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = factor_range(height_factor, "height_factor", "RandomTranslation", -1, 1)
        self._widths = factor_range(width_factor, "width_factor", "RandomTranslation", -1, 1)

    def _maps(self, images: Tensor, height: int, width: int) -> tuple[Any, ...]:
        (down,), (right,) = self._uniform(images, *self._heights), self._uniform(images, *self._widths)
        return 1.0, 0.0, -right * width, 0.0, 1.0, -down * height

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}
