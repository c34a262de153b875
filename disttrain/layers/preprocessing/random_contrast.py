"""Images with more or less contrast, at random."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.image_layer import RandomImageLayer, beside, factor_range, value_pair


class RandomContrast(RandomImageLayer):
    """When training, move each pixel of an image to or from the mean of its channel: `(x - mean) * c + mean`, cut to `value_range`.

    Args:
        factor: c is drawn from `1 - lower` to `1 + upper`: a pair (lower, upper), or one number for both, each from 0 to 1.
        value_range: the least and the largest value of a pixel.
        seed: sets this layer's draws apart from those of a layer with another seed.

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, or pixels whose `value_range` is not two numbers; an input that is neither an image nor a
            batch of images.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        pair = factor if isinstance(factor, tuple | list) else (factor, factor)
        self.factor = factor_range(pair, "factor", "RandomContrast", 0, 1)
        self.value_range = value_pair(value_range, "RandomContrast")

    def _change(self, images: Tensor) -> Tensor:
        (contrast,) = self._uniform(images, 1 - self.factor[0], 1 + self.factor[1])
        mean = images.mean((self._height_axis, self._width_axis), keepdim=True)
        return ((images - mean) * beside(contrast, images) + mean).clamp(*self.value_range)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}
