"""Convolutions turned round: each input is spread over a window of the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.convolutional.convolution import Convolution
from disttrain.layers.geometry import integer, sizes
from disttrain.layers.symbolic import Shape


class ConvTranspose(Convolution):
    """The transpose of a convolution: what its backward pass does to a gradient, as a layer that enlarges.

    Args:
        filters: channels of the output.
        kernel_size, strides, dilation_rate: one integer for all axes, or one for each.
        padding: "valid" or "same".
        output_padding: for each axis, fewer than its stride; None for the output size of TensorFlow.
        data_format: "channels_last" (also None) or "channels_first".
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        use_bias: learn an offset for each filter.
        kernel_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Output size of an axis of size n with stride s and kernel k (`dilation * (kernel_size - 1) + 1`), output_padding p:
    "valid" `(n - 1) * s + k + p`, where p is `max(s - k, 0)` for None; "same" `(n - 1) * s + k % 2 + p`, for None `n * s`.

    Weights: `kernel (kernel sizes..., filters, channels)`, Glorot uniform; `bias (filters,)`, zeros.
    """

    _torch_convolution: Callable[..., Tensor]

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.output_padding = None if output_padding is None else sizes(output_padding, self.rank, "output_padding", owner, 0)
        if self.output_padding is not None and any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
            raise ValueError(f"{owner}(output_padding={output_padding}, strides={strides}): expected less than the stride of each axis.")
        self._crops = [self._crop(axis) for axis in range(self.rank)]
        self._padding = tuple(before for before, _ in self._crops)
        self._extended = tuple(max(before - after, 0) for before, after in self._crops)
        self._excess = tuple(max(after - before, 0) for before, after in self._crops)

    def _crop(self, axis: int) -> tuple[int, int]:
        """(before, after): what is cut from the `(n - 1) * s + k` positions that windows reach; less than 0 adds positions.

        After `_convert_conv_transpose_padding_args_from_keras_to_jax` in Keras 3: torch pads both sides alike and adds after only,
        which "same" with an even kernel or a stride does not.
        """
        window, stride = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1, self.strides[axis]
        extra = None if self.output_padding is None else self.output_padding[axis]
        if self.padding == "valid":
            return 0, -(max(stride - window, 0) if extra is None else extra)
        total = stride + window - 2 if extra is None else window + window % 2 - 2 + extra
        before = min((total + 1) // 2, window - 1)
        return window - 1 - before, window - 1 - (total - before)

    def build(self, input_shape: Shape) -> None:
        found = self._channels_for(input_shape)
        self.kernel = self._add("kernel", "kernel", (*self.kernel_size, self.filters, found))
        self._add_bias(self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2 or inputs.shape[-1 if self._last else 1] != self._input_channels:
            self._check_input(inputs.shape)
        x = inputs.permute(self._to_torch) if self._last else inputs
        kernel = self.kernel.permute(self._kernel_to_torch)
        y = self._torch_convolution(x, kernel, self.bias, self.strides, self._padding, self._extended, 1, self.dilation_rate)
        for axis, excess in enumerate(self._excess, start=2):
            if excess:
                y = y.narrow(axis, 0, y.shape[axis] - excess)
        y = y.permute(self._to_keras) if self._last else y
        return y if self._linear else self.activation(y)

    def _output_channels(self, input_channels: int | None) -> int | None:
        return self.filters

    def _output_sizes(self, input_sizes: Shape) -> list[int | None]:
        found: list[int | None] = []
        for axis, size in enumerate(input_sizes):
            window = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1
            found.append(None if size is None else (size - 1) * self.strides[axis] + window - sum(self._crops[axis]))
        return found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "output_padding": self.output_padding}


class Conv1DTranspose(ConvTranspose):
    """Transposed convolution over steps. Arguments, sizes and weights: `ConvTranspose`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.

    Source: Zeiler et al. 2010.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, an `output_padding` that is
            not less than the stride; an input with another number of axes or channels.

    Example:
        >>> import torch
        >>> Conv1DTranspose(4, 3, strides=2)(torch.zeros(2, 8, 1)).shape
        torch.Size([2, 17, 4])
    """

    rank = 1
    _torch_convolution = staticmethod(F.conv_transpose1d)


class Conv2DTranspose(ConvTranspose):
    """Transposed convolution over images. Arguments, sizes and weights: `ConvTranspose`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new height, new width, filters)`.

    Source: Zeiler et al. 2010.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, an `output_padding` that is
            not less than the stride; an input with another number of axes or channels.

    Example:
        >>> import torch
        >>> Conv2DTranspose(4, 3, strides=2, padding="same")(torch.zeros(2, 8, 8, 1)).shape
        torch.Size([2, 16, 16, 4])
    """

    rank = 2
    _torch_convolution = staticmethod(F.conv_transpose2d)


class Conv3DTranspose(ConvTranspose):
    """Transposed convolution over volumes. Arguments, sizes and weights: `ConvTranspose`; `data_format` stands before `output_padding`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, new depth, new height, new width, filters)`.

    Source: Zeiler et al. 2010.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`, an `output_padding` that is
            not less than the stride; an input with another number of axes or channels.

    Example:
        >>> import torch
        >>> Conv3DTranspose(4, 2, strides=2)(torch.zeros(2, 3, 4, 5, 1)).shape
        torch.Size([2, 6, 8, 10, 4])
    """

    rank = 3
    _torch_convolution = staticmethod(F.conv_transpose3d)

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        output_padding: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format, *args, **kwargs)
