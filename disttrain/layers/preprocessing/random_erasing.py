"""Images of which a part is missing, at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.layers.preprocessing.image_layer import RandomImageLayer, factor_range, value_pair
from disttrain.layers.randomness import normal


class RandomErasing(RandomImageLayer):
    """When training, fill a rectangle of some images (Zhong et al. 2017).

    Args:
        factor: the range that an image's probability of losing a part is drawn from: a pair, or f for `(0, f)`, each from 0 to 1.
        scale: the range of the squares of the rectangle's height and width, each drawn on its own, as shares of those of the image.
        fill_value: what is put there: a number, one for each of three channels, or None for normal noise times the largest pixel; cut
            to `value_range`.
        value_range: the least and the largest value of a pixel.
        seed: sets this layer's draws apart from those of a layer with another seed.
        data_format: "channels_last" (also None) or "channels_first".

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, or pixels whose `value_range` is not two numbers; an input that is neither an image nor a
            batch of images.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range(factor, "factor", "RandomErasing", 0, 1, signed=False)
        self.scale = factor_range(scale, "scale", "RandomErasing", 0, 1, signed=False)
        numbers = fill_value if isinstance(fill_value, tuple | list) else [fill_value] * 3
        if fill_value is not None and (len(numbers) != 3 or not all(isinstance(n, int | float) for n in numbers)):
            raise ValueError(f"RandomErasing(fill_value={fill_value!r}): expected a number, three of them, or None for noise.")
        self.fill_value, self.value_range = fill_value, value_pair(value_range, "RandomErasing")

    def _change(self, images: Tensor) -> Tensor:
        height, width = self._sizes(images)
        shares = self._uniform(images, *self.scale, count=2)
        places = self._uniform(images, 0.0, 1.0, count=3)
        erased: Any = True
        for axis, size, share, place in zip((self._width_axis, self._height_axis), (width, height), shares, places, strict=False):
            extent = share.double().sqrt().to(share.dtype) * size  # the nearest everywhere, which a root in float32 is not on CPUs
            first = (place * (size - extent)).reshape(-1, 1, 1, 1)
            pixel = torch.arange(size, device=images.device).reshape([-1 if axis == a else 1 for a in (-4, -3, -2, -1)])
            erased = (pixel >= first) & (pixel < first + extent.reshape(-1, 1, 1, 1)) & erased
        erased = erased & (places[2] < self._uniform(images, *self.factor)[0]).reshape(-1, 1, 1, 1)
        return torch.where(erased, self._filling(images), images)

    def _filling(self, images: Tensor) -> Tensor:
        low, high = self.value_range
        if self.fill_value is None:
            noise = normal(self, images.shape, images.dtype, images.device, self.seed)
            return (noise * high).clamp(low, high)
        filling = on_device(self.fill_value, images.device, images.dtype).clamp(low, high)
        return filling.reshape(-1, 1, 1) if filling.ndim and self.data_format == "channels_first" else filling

    def get_config(self) -> dict[str, Any]:
        own = {"factor": self.factor, "scale": self.scale, "fill_value": self.fill_value, "value_range": self.value_range}
        return {**super().get_config(), **own}
