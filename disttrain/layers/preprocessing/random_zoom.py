"""Images zoomed at random."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.image_layer import factor_range
from disttrain.layers.preprocessing.moved_image import MovedImageLayer


class RandomZoom(MovedImageLayer):
    """When training, zoom each image about its middle. Further arguments: `MovedImageLayer`.

    Args:
        height_factor: the range of the zoom: a pair, or f for `(-f, f)`, each above -1 and at most 1. 0.5 shows one and a half times as
            much, everything smaller; -0.5 shows half, everything larger.
        width_factor: that of the width; None zooms both alike.

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, an unknown `fill_mode`, `interpolation` or `data_format`; an input that is neither an
            image nor a batch of images.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = _zooms(height_factor, "height_factor")
        self._widths = None if width_factor is None else _zooms(width_factor, "width_factor")

    def _maps(self, images: Tensor, height: int, width: int) -> tuple[Any, ...]:
        (tall,) = self._uniform(images, *self._heights)
        wide = tall if self._widths is None else self._uniform(images, *self._widths)[0]
        return wide, 0.0, (width - 1) / 2 * (1 - wide), 0.0, tall, (height - 1) / 2 * (1 - tall)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


def _zooms(factor: Any, argument: str) -> tuple[float, float]:
    low, high = factor_range(factor, argument, "RandomZoom", -1, 1)
    if -1 in (factor if isinstance(factor, tuple | list) else [factor]):
        raise ValueError(f"RandomZoom({argument}={factor!r}): expected numbers above -1; at -1 a single point would fill the image.")
    return 1 + low, 1 + high
