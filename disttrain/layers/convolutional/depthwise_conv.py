"""Convolutions that keep channels apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.convolutional.convolution import Convolution
from disttrain.layers.geometry import integer
from disttrain.layers.symbolic import Shape


class DepthwiseConv(Convolution):
    """Each channel is convolved by itself, with `depth_multiplier` kernels of its own.

    Args:
        kernel_size, strides, dilation_rate: one integer for all axes, or one for each.
        padding: "valid" (none), or "same", which pads so that `ceil(n / stride)` windows fit, the odd one after.
        depth_multiplier: how many outputs each channel has.
        data_format: "channels_last" (also None) or "channels_first".
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        use_bias: learn an offset for each output channel.
        depthwise_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Weights: `kernel (kernel sizes..., channels, depth_multiplier)`, Glorot uniform; `bias (channels * depth_multiplier,)`, zeros. Output
    channel `c * depth_multiplier + m` is that of channel c and its kernel m.
    """

    _torch_convolution: Callable[..., Tensor]
    _kinds = ("depthwise", "bias")
    _strides_exclude_dilation = False

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        weights = {
            "depthwise": (depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            "bias": (bias_initializer, bias_regularizer, bias_constraint),
        }
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, weights,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = integer(depth_multiplier, "depth_multiplier", type(self).__name__)

    def build(self, input_shape: Shape) -> None:
        found = self._channels_for(input_shape)
        self.kernel = self._add("kernel", "depthwise", (*self.kernel_size, found, self.depth_multiplier))
        self._add_bias(found * self.depth_multiplier)

    def _convolve(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        kernel = self.kernel.reshape(*self.kernel_size, 1, -1).permute(self._kernel_to_torch)
        x, strides = self._strided(x)
        return self._torch_convolution(x, kernel, self.bias, strides, padding, self.dilation_rate, x.shape[1])

    def _output_channels(self, input_channels: int | None) -> int | None:
        return None if input_channels is None else input_channels * self.depth_multiplier

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class DepthwiseConv1D(DepthwiseConv):
    """Depthwise convolution over steps. Arguments and weights: `DepthwiseConv`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, channels * depth_multiplier)`.

    Source: Sifre 2014; Howard et al. 2017.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`; an input with another number
            of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> DepthwiseConv1D(3, depth_multiplier=2)(torch.zeros(2, 8, 4)).shape
        torch.Size([2, 6, 8])
    """

    rank = 1
    _torch_convolution = staticmethod(F.conv1d)


class DepthwiseConv2D(DepthwiseConv):
    """Depthwise convolution over images. Arguments and weights: `DepthwiseConv`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new height, new width, channels * depth_multiplier)`.

    Source: Sifre 2014; Howard et al. 2017.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`; an input with another number
            of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> DepthwiseConv2D(3, padding="same")(torch.zeros(2, 8, 8, 4)).shape
        torch.Size([2, 8, 8, 4])
    """

    rank = 2
    _torch_convolution = staticmethod(F.conv2d)
