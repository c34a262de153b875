"""Convolutions in two steps: over the window channel by channel, then over the channels of each position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.convolutional.convolution import Convolution
from disttrain.layers.geometry import integer
from disttrain.layers.symbolic import Shape


class SeparableConv(Convolution):
    """A depthwise convolution, then one with a window of size 1 that mixes the channels (Chollet 2017, "Xception").

    Args:
        filters: channels of the output.
        kernel_size, strides, dilation_rate: of the depthwise step; one integer for all axes, or one for each.
        padding: "valid" (none), or "same", which pads so that `ceil(n / stride)` windows fit, the odd one after.
        data_format: "channels_last" (also None) or "channels_first".
        depth_multiplier: how many outputs the depthwise step gives each channel.
        activation: a name such as `"relu"`, a callable, or None to stay linear; after the second step only.
        use_bias: learn an offset for each filter, after the second step only.
        depthwise_constraint, pointwise_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Weights: `depthwise_kernel (kernel sizes..., channels, depth_multiplier)` and `pointwise_kernel (1..., channels * depth_multiplier,
    filters)`, Glorot uniform; `bias (filters,)`, zeros.
    """

    _torch_convolution: Callable[..., Tensor]
    _kinds = ("depthwise", "pointwise", "bias")
    _strides_exclude_dilation = False

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        weights = {
            "depthwise": (depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            "pointwise": (pointwise_initializer, pointwise_regularizer, pointwise_constraint),
            "bias": (bias_initializer, bias_regularizer, bias_constraint),
        }
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, weights,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        owner = type(self).__name__
        self.filters = integer(filters, "filters", owner, meaning="the channels of the output")
        self.depth_multiplier = integer(depth_multiplier, "depth_multiplier", owner)

    def build(self, input_shape: Shape) -> None:
        found = self._channels_for(input_shape)
        deep = found * self.depth_multiplier
        self.depthwise_kernel = self._add("depthwise_kernel", "depthwise", (*self.kernel_size, found, self.depth_multiplier))
        self.pointwise_kernel = self._add("pointwise_kernel", "pointwise", (*[1] * self.rank, deep, self.filters))
        self._add_bias(self.filters)

    def _convolve(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        depthwise = self.depthwise_kernel.reshape(*self.kernel_size, 1, -1).permute(self._kernel_to_torch)
        x, strides = self._strided(x)
        deep = self._torch_convolution(x, depthwise, None, strides, padding, self.dilation_rate, x.shape[1])
        return self._torch_convolution(deep, self.pointwise_kernel.permute(self._kernel_to_torch), self.bias)

    def _output_channels(self, input_channels: int | None) -> int | None:
        return self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "depth_multiplier": self.depth_multiplier}


class SeparableConv1D(SeparableConv):
    """Separable convolution over steps. Arguments and weights: `SeparableConv`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.

    Source: Sifre 2014; Chollet 2017.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`; an input with another number
            of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> SeparableConv1D(5, 3)(torch.zeros(2, 8, 4)).shape
        torch.Size([2, 6, 5])
    """

    rank = 1
    _torch_convolution = staticmethod(F.conv1d)


class SeparableConv2D(SeparableConv):
    """Separable convolution over images. Arguments and weights: `SeparableConv`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new height, new width, filters)`.

    Source: Sifre 2014; Chollet 2017.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`; an input with another number
            of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> SeparableConv2D(5, 3, padding="same")(torch.zeros(2, 8, 8, 4)).shape
        torch.Size([2, 8, 8, 5])
    """

    rank = 2
    _torch_convolution = staticmethod(F.conv2d)
