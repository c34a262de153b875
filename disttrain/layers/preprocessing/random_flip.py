"""Images flipped at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.preprocessing.image_layer import RandomImageLayer

_MODES = ("horizontal", "horizontal_and_vertical", "vertical")


class RandomFlip(RandomImageLayer):
    """When training, flip every second image on average.

    Args:
        mode: "horizontal" swaps left and right, "vertical" top and bottom, "horizontal_and_vertical" both at once, as in Keras 3: an
            image is turned by half a circle or left alone.
        seed: sets this layer's draws apart from those of a layer with another seed.
        data_format: "channels_last" (also None) or "channels_first".

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: an unknown `mode` or `data_format`; an input that is neither an image nor a batch of images.
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        if mode not in _MODES:
            raise ValueError(f"RandomFlip(mode={mode!r}): expected one of {', '.join(map(repr, _MODES))}.")
        self.mode = mode

    def _change(self, images: Tensor) -> Tensor:
        axes = {"horizontal": self._width_axis, "vertical": self._height_axis}
        flipped = images.flip([axis for name, axis in axes.items() if name in self.mode])
        (draws,) = self._uniform(images, 0.0, 1.0)
        return torch.where((draws <= 0.5).reshape(-1, 1, 1, 1), flipped, images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
