"""Zeros around every edge."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.geometry import AXES, channels, check_data_format, check_rank, margins, pad_argument, shape_of, spatial
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class ZeroPadding(Layer):
    """Adds zeros at both ends of axes; subclasses say of how many.

    Args:
        padding: how many: one integer for all ends, one for both ends of each axis, or `(before, after)` for each axis.
        data_format: "channels_last" (also None) or "channels_first".
    """

    rank: int
    _output_keeps_dtype = True

    def __init__(self, padding: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._margins = margins(padding, self.rank, "padding", type(self).__name__)
        self.padding: Any = self._margins
        self.data_format = check_data_format(data_format, type(self).__name__)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2:
            check_rank(inputs.shape, self.rank + 2, self._described(), AXES[self.rank])
        return F.pad(inputs, pad_argument(self._margins, self.data_format == "channels_last"))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        larger = [
            None if size is None else size + before + after
            for size, (before, after) in zip(spatial(input_shape, self.data_format), self._margins, strict=True)
        ]
        return shape_of(input_shape[0], larger, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding1D(ZeroPadding):
    """Zeros before the first and after the last step.

    Args:
        padding: how many steps: one integer for both ends, or `(before, after)`.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, more steps, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> ZeroPadding1D((0, 2))(torch.ones(1, 1, 1)).flatten()
        tensor([1., 0., 0.])
    """

    rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__([padding] if isinstance(padding, list | tuple) else padding, data_format, **kwargs)
        self.padding = self._margins[0]


class ZeroPadding2D(ZeroPadding):
    """Zeros around an image.

    Args:
        padding: one integer for all edges, `(height, width)` for both edges of each, or `((top, bottom), (left, right))`.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, larger height, larger width, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> ZeroPadding2D(((0, 1), (2, 2)))(torch.zeros(2, 4, 4, 3)).shape
        torch.Size([2, 5, 8, 3])
    """

    rank = 2

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding3D(ZeroPadding):
    """Zeros around a volume.

    Args:
        padding: one integer for all sides, `(depth, height, width)` for both sides of each, or `(before, after)` for each of the three.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, larger depth, larger height, larger width, channels)`.

    Raises:
        ValueError: amounts below 0, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> ZeroPadding3D(2)(torch.zeros(1, 1, 2, 2, 3)).shape
        torch.Size([1, 5, 6, 6, 3])
    """

    rank = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)
