"""Convolutions over steps, images and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.convolutional.convolution import Convolution
from disttrain.layers.geometry import integer
from disttrain.layers.symbolic import Shape


class Conv(Convolution):
    """Windows of the input times a kernel, then an activation; subclasses say over how many axes.

    Args:
        filters: channels of the output.
        kernel_size, strides, dilation_rate: one integer for all axes, or one for each.
        padding: "valid" (none), "same", which pads so that `ceil(n / stride)` windows fit, the odd one after; for `Conv1D` also "causal",
            which pads before only, so that no output sees a later step.
        data_format: "channels_last" (also None) or "channels_first".
        groups: the channels are cut into so many groups, each with its own filters.
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        use_bias: learn an offset for each filter.
        kernel_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Weights: `kernel (kernel sizes..., channels / groups, filters)`, Glorot uniform; `bias (filters,)`, zeros.
    """

    _torch_convolution: Callable[..., Tensor]

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        weights = {
            "kernel": (kernel_initializer, kernel_regularizer, kernel_constraint),
            "bias": (bias_initializer, bias_regularizer, bias_constraint),
        }
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, weights,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        owner = type(self).__name__
        self.filters = integer(filters, "filters", owner, meaning="the channels of the output")
        self.groups = integer(groups, "groups", owner)
        if self.filters % self.groups:
            raise ValueError(f"{owner}(filters={filters}, groups={groups}): expected groups that divide the filters evenly.")

    def build(self, input_shape: Shape) -> None:
        found = self._channels_for(input_shape)
        if found % self.groups:
            raise ValueError(f"{self._described()}: {found} channels of the input cannot be cut into groups={self.groups} evenly.")
        self.kernel = self._add("kernel", "kernel", (*self.kernel_size, found // self.groups, self.filters))
        self._add_bias(self.filters)

    def _convolve(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        kernel = self.kernel.permute(self._kernel_to_torch)
        x, strides = self._strided(x)
        return self._torch_convolution(x, kernel, self.bias, strides, padding, self.dilation_rate, self.groups)

    def _output_channels(self, input_channels: int | None) -> int | None:
        return self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}


class Conv1D(Conv):
    """Convolution over steps, such as those of a sound or a sentence. Arguments and weights: `Conv`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.

    Source: LeCun et al. 1998; dilation: Yu & Koltun 2016; causal: van den Oord et al. 2016.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, `groups` that do not divide
            filters or channels; an input with another number of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> Conv1D(4, 3, padding="causal")(torch.zeros(2, 8, 1)).shape
        torch.Size([2, 8, 4])
    """

    rank, _causal = 1, True
    _torch_convolution = staticmethod(F.conv1d)


class Conv2D(Conv):
    """Convolution over images. Arguments and weights: `Conv`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new height, new width, filters)`.

    Source: LeCun et al. 1998; dilation: Yu & Koltun 2016.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, `groups` that do not divide
            filters or channels; an input with another number of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> Conv2D(4, 3)(torch.zeros(2, 8, 8, 1)).shape
        torch.Size([2, 6, 6, 4])
    """

    rank = 2
    _torch_convolution = staticmethod(F.conv2d)


class Conv3D(Conv):
    """Convolution over volumes. Arguments and weights: `Conv`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, new depth, new height, new width, filters)`.

    Source: LeCun et al. 1998; over volumes: Tran et al. 2015.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, `groups` that do not divide
            filters or channels; an input with another number of axes or channels, or too small for the window.

    Example:
        >>> import torch
        >>> Conv3D(4, (1, 3, 3))(torch.zeros(2, 5, 8, 8, 1)).shape
        torch.Size([2, 5, 6, 6, 4])
    """

    rank = 3
    _torch_convolution = staticmethod(F.conv3d)
