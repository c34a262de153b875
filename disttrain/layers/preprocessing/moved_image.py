"""Images that are turned, zoomed or shifted at random: what these layers have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.layers.preprocessing.affine import FILL_MODES, INTERPOLATIONS, affine_transform
from disttrain.layers.preprocessing.image_layer import RandomImageLayer


class MovedImageLayer(RandomImageLayer):
    """Each image seen through an affine map that is drawn for it; subclasses say which.

    Args:
        fill_mode: what comes in over the edges of abcd: "reflect" dcba|abcd|dcba, "wrap" abcd|abcd|abcd, "nearest" aaaa|abcd|dddd, or
            "constant" kkkk|abcd|kkkk.
        interpolation: between pixels: "bilinear", or "nearest" for none.
        seed: sets this layer's draws apart from those of a layer with another seed.
        fill_value: k of "constant".
        data_format: "channels_last" (also None) or "channels_first".
    """

    def __init__(
        self, fill_mode: str, interpolation: str, seed: int | None, fill_value: float, data_format: str | None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        owner = type(self).__name__
        if fill_mode not in FILL_MODES:
            raise ValueError(f"{owner}(fill_mode={fill_mode!r}): expected one of {', '.join(map(repr, FILL_MODES))}.")
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"{owner}(interpolation={interpolation!r}): expected one of {', '.join(map(repr, INTERPOLATIONS))}.")
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value

    def _maps(self, images: Tensor, height: int, width: int) -> tuple[Any, ...]:
        """(a0, a1, a2, b0, b1, b2) of `affine_transform`, drawn for each image; a number where all have the same."""
        raise NotImplementedError

    def _change(self, images: Tensor) -> Tensor:
        columns = [on_device(c, images.device, torch.float32) for c in self._maps(images, *self._sizes(images))]
        transform = torch.stack([column.expand(len(images)) for column in columns], 1)
        first = self.data_format == "channels_first"
        x = images.permute(0, 2, 3, 1) if first else images
        y = affine_transform(x, transform, self.interpolation, self.fill_mode, self.fill_value)
        return y.permute(0, 3, 1, 2) if first else y

    def get_config(self) -> dict[str, Any]:
        own = {"fill_mode": self.fill_mode, "interpolation": self.interpolation, "fill_value": self.fill_value}
        return {**super().get_config(), **own}
