"""Images made brighter or darker at random."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.preprocessing.image_layer import RandomImageLayer, beside, factor_range, value_pair


class RandomBrightness(RandomImageLayer):
    """When training, add to all pixels of an image a random number; the result is cut to `value_range`.

    Args:
        factor: the range of what is added as a share of the width of `value_range`: a pair, or f for `(-f, f)`, each from -1 to 1.
        value_range: the least and the largest value of a pixel.
        seed: sets this layer's draws apart from those of a layer with another seed.

    Input and output shape: `(batch, height, width, channels)` or without the batch.

    Raises:
        ValueError: a factor outside of its range, or pixels whose `value_range` is not two numbers; an input that is neither an image nor a
            batch of images.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range(factor, "factor", "RandomBrightness", -1, 1)
        self.value_range = value_pair(value_range, "RandomBrightness")

    def _change(self, images: Tensor) -> Tensor:
        low, high = self.value_range
        (share,) = self._uniform(images, *self.factor)
        return (images + beside(share * (high - low), images)).clamp(low, high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": list(self.value_range)}
