"""What layers of images have in common, and those that draw."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import check_data_format
from disttrain.layers.layer import Layer
from disttrain.layers.randomness import uniform
from disttrain.layers.symbolic import Shape


class ImageLayer(Layer):
    """A layer of images in a batch, or of one image.

    Args:
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, height, width, channels)` or `(height, width, channels)`, or with "channels_first" channels before height.
    """

    def __init__(self, *, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format(data_format, type(self).__name__)
        self._height_axis = -3 if self.data_format == "channels_last" else -2
        self._width_axis = self._height_axis + 1

    def build(self, input_shape: Shape) -> None:
        self._check_images(input_shape)

    def _check_images(self, images: Any) -> None:
        if isinstance(images, dict):
            raise ValueError(f"{self._described()}: got a dict, expected a tensor of images; labels and boxes are not supported.")
        shape = getattr(images, "shape", images)
        if len(shape) not in (3, 4):
            raise ValueError(f"{self._described()}: got an input of shape {tuple(shape)}, expected a batch of images (4 axes) or one (3).")

    def _sizes(self, images: Tensor) -> tuple[int, int]:
        """(height, width)."""
        return images.shape[self._height_axis], images.shape[self._width_axis]

    def _crop(self, images: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        return images.narrow(self._height_axis, top, height).narrow(self._width_axis, left, width)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class SizedImageLayer(ImageLayer):
    """A layer whose images have one size.

    Args:
        height, width: of the output.
    """

    height: int
    width: int

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        shape = list(input_shape)
        shape[self._height_axis], shape[self._width_axis] = self.height, self.width
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class RandomImageLayer(ImageLayer):
    """A layer that changes each image of a batch in a way of its own when training, and hands images on otherwise.

    As in Keras, a call that is not told whether it trains does. Integers become floats in either case. What is drawn comes from the step
    and the slice of the batch.

    Args:
        seed: sets this layer's draws apart from those of a layer with another seed.
    """

    def __init__(self, *, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.seed = seed

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        self._check_images(inputs)
        images = inputs.to(self._compute_dtype)
        if not training:
            return images
        return self._change(images) if images.ndim == 4 else self._change(images[None])[0]

    def _change(self, images: Tensor) -> Tensor:
        """`images`, a batch of them, changed at random."""
        raise NotImplementedError

    def _uniform(self, images: Tensor, low: float, high: float, count: int = 1) -> list[Tensor]:
        """`count` tensors of a number for each image, float32, uniform from `low` to `high`."""
        draws = uniform(self, (count, len(images)), images.device, self.seed)
        return list((low + (high - low) * draws).unbind())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def beside(numbers: Tensor, images: Tensor) -> Tensor:
    """A number for each image as a tensor that goes with a batch of them."""
    return numbers.to(images.dtype).reshape(-1, 1, 1, 1)


def factor_range(factor: Any, argument: str, owner: str, low: float, high: float, signed: bool = True) -> tuple[float, float]:
    """(least, largest) of a factor: a pair in any order, or one number f for `(-f, f)`, without `signed` `(0, f)`.

    Raises:
        ValueError: something else, or not between `low` and `high`.
    """
    numbers = list(factor) if isinstance(factor, tuple | list) else [factor]
    sound = all(isinstance(n, int | float) and not isinstance(n, bool) and low <= n <= high for n in numbers)
    if not sound or len(numbers) not in (1, 2) or (len(numbers) == 1 and isinstance(factor, tuple | list)):
        raise ValueError(f"{owner}({argument}={factor!r}): expected a number from {low} to {high}, or two of them.")
    if len(numbers) == 1:
        return (-abs(factor) if signed else 0.0, abs(factor))
    return min(numbers), max(numbers)


def value_pair(value_range: Any, owner: str) -> tuple[float, float]:
    """`value_range` as (least, largest).

    Raises:
        ValueError: not two numbers.
    """
    sound = isinstance(value_range, tuple | list) and len(value_range) == 2 and all(isinstance(v, int | float) for v in value_range)
    if not sound:
        raise ValueError(f"{owner}(value_range={value_range!r}): expected two numbers, the least and the largest of a pixel.")
    return min(value_range), max(value_range)
