"""Less of every edge."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import AXES, channels, check_data_format, check_rank, margins, shape_of, spatial
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Cropping(Layer):
    """Cuts from both ends of axes; subclasses say of how many.

    Args:
        cropping: how much: one integer for all ends, one for both ends of each axis, or `(before, after)` for each axis.
        data_format: "channels_last" (also None) or "channels_first".
    """

    rank: int
    _output_keeps_dtype = True

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._margins = margins(cropping, self.rank, "cropping", type(self).__name__)
        self.cropping: Any = self._margins
        self.data_format = check_data_format(data_format, type(self).__name__)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(tuple(inputs.shape))
        for axis, (before, after) in enumerate(self._margins, start=1 if self.data_format == "channels_last" else 2):
            inputs = inputs.narrow(axis, before, inputs.shape[axis] - before - after)
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        left = [
            None if size is None else size - before - after
            for size, (before, after) in zip(spatial(input_shape, self.data_format), self._margins, strict=True)
        ]
        if any(size is not None and size < 1 for size in left):
            told = (
                "`cropping` parameter of `Cropping1D` layer must be smaller than the number of steps"
                if self.rank == 1
                else "Values in `cropping` argument should be smaller than the corresponding spatial dimension of the input"
            )  # Keras's words
            raise ValueError(f"{self._described()}: cropping={self.cropping} leaves nothing of an input of shape {input_shape}. {told}.")
        return shape_of(input_shape[0], left, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Cropping1D(Cropping):
    """Fewer steps.

    Args:
        cropping: how many steps to cut: one integer for both ends, or `(before, after)`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, fewer steps, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes, or one of which nothing would be
            left.

    Example:
        >>> import torch
        >>> Cropping1D((2, 1))(torch.arange(5.0).reshape(1, 5, 1)).flatten()
        tensor([2., 3.])
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__([cropping] if isinstance(cropping, list | tuple) else cropping, **kwargs)
        self.cropping = self._margins[0]

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "data_format"}


class Cropping2D(Cropping):
    """Less of every edge of an image.

    Args:
        cropping: one integer for all edges, `(height, width)` for both edges of each, or `((top, bottom), (left, right))`.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, smaller height, smaller width, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes, or one of which nothing would be
            left.

    Example:
        >>> import torch
        >>> Cropping2D(((2, 2), (4, 4)))(torch.zeros(2, 28, 28, 3)).shape
        torch.Size([2, 24, 20, 3])
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(Cropping):
    """Less of every side of a volume.

    Args:
        cropping: one integer for all sides, `(depth, height, width)` for both sides of each, or `(before, after)` for each of the three.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, smaller depth, smaller height, smaller width, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes, or one of which nothing would be
            left.

    Example:
        >>> import torch
        >>> Cropping3D((2, 4, 2))(torch.zeros(2, 28, 28, 10, 3)).shape
        torch.Size([2, 24, 20, 6, 3])
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)
