"""Pooling to a given size, whatever the size of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.fixed_order import adaptive_max, adaptive_mean, has_own_kernels
from disttrain.layers.geometry import (
    AXES,
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    channels,
    check_data_format,
    check_rank,
    shape_of,
    sizes,
)
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class AdaptivePooling(Layer):
    """Windows as many as the output is to have; number i of m over an axis of n reaches from `floor(i n / m)` to `ceil((i + 1) n / m)`.

    Args:
        output_size: one integer for all axes, or one for each.
        data_format: "channels_last" (also None) or "channels_first".
    """

    rank: int
    _output_keeps_dtype = True
    _torch_pooling: Callable[..., Tensor]
    _fixed_order: Callable[..., Tensor]  # the same off the CPU

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = sizes(output_size, self.rank, "output_size", type(self).__name__)
        self.data_format = check_data_format(data_format, type(self).__name__)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2:
            check_rank(inputs.shape, self.rank + 2, self._described(), AXES[self.rank])
        pooling = self._torch_pooling if has_own_kernels(inputs) else self._fixed_order
        if self.data_format == "channels_first":
            return pooling(inputs, self.output_size)
        return pooling(inputs.permute(TO_CHANNELS_FIRST[self.rank]), self.output_size).permute(TO_CHANNELS_LAST[self.rank])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        return shape_of(input_shape[0], self.output_size, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_size": self.output_size, "data_format": self.data_format}


class AdaptiveAveragePooling1D(AdaptivePooling):
    """The mean of each of `output_size` windows of steps. Arguments: `AdaptivePooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> AdaptiveAveragePooling1D(2)(torch.tensor([[[1.0], [2.0], [6.0]]])).flatten()
        tensor([1.5000, 4.0000])
    """

    rank = 1
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_avg_pool1d), staticmethod(adaptive_mean)


class AdaptiveAveragePooling2D(AdaptivePooling):
    """The mean of each window of an image. Arguments: `AdaptivePooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, *output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 2
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_avg_pool2d), staticmethod(adaptive_mean)


class AdaptiveAveragePooling3D(AdaptivePooling):
    """The mean of each window of a volume. Arguments: `AdaptivePooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, *output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 3
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_avg_pool3d), staticmethod(adaptive_mean)


class AdaptiveMaxPooling1D(AdaptivePooling):
    """The largest value of each of `output_size` windows of steps. Arguments: `AdaptivePooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> AdaptiveMaxPooling1D(2)(torch.tensor([[[1.0], [2.0], [6.0]]])).flatten()
        tensor([2., 6.])
    """

    rank = 1
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_max_pool1d), staticmethod(adaptive_max)


class AdaptiveMaxPooling2D(AdaptivePooling):
    """The largest value of each window of an image. Arguments: `AdaptivePooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, *output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 2
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_max_pool2d), staticmethod(adaptive_max)


class AdaptiveMaxPooling3D(AdaptivePooling):
    """The largest value of each window of a volume. Arguments: `AdaptivePooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, *output_size, channels)`.

    Source: He et al. 2015, of which each level pools so.

    Raises:
        ValueError: a size below 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 3
    _torch_pooling, _fixed_order = staticmethod(F.adaptive_max_pool3d), staticmethod(adaptive_max)
