"""Convolution over images."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain import activations, initializers, regularizers
from disttrain.layers.geometry import check_data_format, check_fits, check_padding, check_rank, output_size, pair, same_padding
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Conv2D(Layer):
    """Windows of the image times a kernel, then an activation.

    Args:
        filters: channels of the output.
        kernel_size, strides, dilation_rate: one integer for both axes or a pair.
        padding: "valid" (none), or "same", which pads so that `ceil(n / stride)` windows fit, the odd one right and below.
        data_format: "channels_last" (also None) or "channels_first".
        groups: the channels are cut into so many groups, each with its own filters.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new height, new width, filters)`.
    Weights: `kernel (kernel height, kernel width, channels / groups, filters)`, Glorot uniform; `bias (filters,)`, zeros.

    Example:
        >>> import torch
        >>> Conv2D(4, 3)(torch.zeros(2, 8, 8, 1)).shape
        torch.Size([2, 6, 6, 4])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if isinstance(filters, bool) or not isinstance(filters, int) or filters < 1:
            raise ValueError(f"Conv2D(filters={filters!r}): expected an integer, 1 or more, the channels of the output.")
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or filters % groups:
            raise ValueError(f"Conv2D(filters={filters}, groups={groups!r}): expected groups of 1 or more that divide the filters evenly.")
        self.filters, self.groups = filters, groups
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2D")
        self.strides = pair(strides, "strides", "Conv2D")
        self.dilation_rate = pair(dilation_rate, "dilation_rate", "Conv2D")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"Conv2D(strides={strides}, dilation_rate={dilation_rate}): only one of them may be more than 1.")
        self.padding = check_padding(padding, "Conv2D")
        self.data_format = check_data_format(data_format, "Conv2D")
        self.use_bias = use_bias
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self._linear = self.activation is activations.linear

    def build(self, input_shape: Shape) -> None:
        check_rank(input_shape, 4, self._described(), "batch, height, width and channels")
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        if channels is None:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; the number of channels must be known.")
        if channels % self.groups:
            raise ValueError(f"{self._described()}: {channels} channels of the input cannot be cut into groups={self.groups} evenly.")
        check_fits(self.compute_output_shape(input_shape)[1:], input_shape, self._described())
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer, self.kernel_regularizer)
        self.bias = self.add_weight("bias", (self.filters,), self.bias_initializer, self.bias_regularizer) if self.use_bias else None

    def call(self, inputs: Tensor) -> Tensor:
        last = self.data_format == "channels_last"
        x = inputs.permute(0, 3, 1, 2) if last else inputs  # torch's axes, Keras's memory: nothing is moved
        padding = (0, 0)
        if self.padding == "same":
            sizes = zip(x.shape[2:], self.kernel_size, self.strides, self.dilation_rate, strict=True)
            (top, bottom), (left, right) = (same_padding(*each) for each in sizes)
            if top == bottom and left == right:
                padding = (top, left)
            else:
                x = F.pad(x, (left, right, top, bottom))
        y = F.conv2d(x, self.kernel.permute(3, 2, 0, 1), self.bias, self.strides, padding, self.dilation_rate, self.groups)
        y = y.permute(0, 2, 3, 1) if last else y
        return y if self._linear else self.activation(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = self.data_format == "channels_last"
        sizes = input_shape[1:3] if last else input_shape[2:4]
        windows = zip(sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        height, width = (output_size(n, k, s, self.padding, d) for n, k, s, d in windows)
        return (input_shape[0], height, width, self.filters) if last else (input_shape[0], self.filters, height, width)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }
