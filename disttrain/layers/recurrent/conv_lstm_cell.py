"""One step of an LSTM whose products are convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers import geometry
from disttrain.layers.recurrent.cell import given
from disttrain.layers.recurrent.lstm import LSTMCell
from disttrain.layers.symbolic import Shape

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ConvLSTMCell(LSTMCell):
    """One step of a `ConvLSTM1D`, `ConvLSTM2D` or `ConvLSTM3D`; see there.

    Args: `rank`, over how many axes windows slide, then those of the layer up to `seed`.
    """

    size_argument = "filters"

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = given(locals())
        for name in ("rank", "kernel_size", "strides", "padding", "data_format", "dilation_rate"):
            del arguments[name]
        super().__init__(units=arguments.pop("filters"), implementation=1, **arguments)  # each gate has masks of its own
        owner = type(self).__name__
        self.rank, self.filters = rank, filters
        self.kernel_size = geometry.sizes(kernel_size, rank, "kernel_size", owner)
        self.strides = geometry.sizes(strides, rank, "strides", owner)
        self.dilation_rate = geometry.sizes(dilation_rate, rank, "dilation_rate", owner)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{owner}: Specifying `strides > 1` is not compatible with `dilation_rate > 1`: only one of them may be more than 1. "
                f"Received: strides={strides}, dilation_rate={dilation_rate}"
            )
        self.padding = geometry.check_padding(padding, owner)
        self.data_format = geometry.check_data_format(data_format, owner)
        self.gate_axis = -1 if self.data_format == "channels_last" else -rank - 1
        self._step_shape: Shape = ()  # of an input, batch left out; known when built

    @property
    def state_size(self) -> list[int]:
        return [-1, -1]  # not one number each: see `get_initial_state`

    @property
    def output_size(self) -> int:
        return self.filters

    # -- weights and states ---------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Shape) -> None:
        geometry.check_rank(input_shape, self.rank + 2, self._described(), geometry.AXES[self.rank])
        if None in input_shape[1:]:
            raise ValueError(f"{self._described()}: got steps of shape {input_shape}; all sizes but the batch must be known.")
        geometry.check_fits(self._sizes_after(input_shape), input_shape, self._described())
        self._step_shape = tuple(input_shape[1:])
        width, channels = 4 * self.filters, geometry.channels(input_shape, self.data_format) or 0
        self._add_kernels((*self.kernel_size, channels, width), (*self.kernel_size, self.filters, width))
        self.bias = self._add_bias() if self.use_bias else None

    def _sizes_after(self, input_shape: Shape) -> tuple[int | None, ...]:
        windows = zip(geometry.spatial(input_shape, self.data_format), self.kernel_size, self.strides, self.dilation_rate, strict=True)
        return tuple(geometry.output_size(size, window, stride, self.padding, step) for size, window, stride, step in windows)

    def state_shape(self, input_shape: Shape) -> Shape:
        """The shape of a state for a step of `input_shape`, batch included; that of the output too."""
        return geometry.shape_of(input_shape[0], self._sizes_after(input_shape), self.filters, self.data_format)

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """Two times zeros, of the shape of an output."""
        shape: Any = self.state_shape((batch_size, *self._step_shape))
        return [torch.zeros(shape, dtype=self._compute_dtype, device=self._own_device()) for _ in range(2)]

    # -- steps ----------------------------------------------------------------------------------------------------------------------

    def can_fuse(self) -> bool:
        return False

    def project(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        flat = inputs.reshape(-1, *inputs.shape[-self.rank - 1 :])
        if mask is None:
            y = self._convolve(flat, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate)
            return y.reshape(*inputs.shape[: -self.rank - 1], *y.shape[1:])
        biases = [None] * 4 if self.bias is None else self.bias.chunk(4)
        parts = [
            self._convolve((inputs * own).reshape(flat.shape), kernel, bias, self.strides, self.padding, self.dilation_rate)
            for own, kernel, bias in zip(mask, self.kernel.chunk(4, -1), biases, strict=True)
        ]
        y = torch.cat(parts, self.gate_axis)
        return y.reshape(*inputs.shape[: -self.rank - 1], *y.shape[1:])

    def recur(self, hidden: Tensor, mask: Tensor | None, plus: Tensor | None) -> Tensor:
        once = (1,) * self.rank
        if mask is None:
            y = self._convolve(hidden, self.recurrent_kernel, None, once, "same", once)
        else:
            kernels = self.recurrent_kernel.chunk(4, -1)
            parts = [self._convolve(hidden * own, kernel, None, once, "same", once) for own, kernel in zip(mask, kernels, strict=True)]
            y = torch.cat(parts, self.gate_axis)
        return y if plus is None else y + plus

    def _convolve(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Sequence[int], padding: str, dilation: Sequence[int]
    ) -> Tensor:  # fmt: skip
        last = self.data_format == "channels_last"
        x = x.permute(geometry.TO_CHANNELS_FIRST[self.rank]) if last else x
        if padding == "same":
            windows = zip(x.shape[2:], self.kernel_size, strides, dilation, strict=True)
            pads = [geometry.same_padding(size, window, stride, step) for size, window, stride, step in windows]
            x = F.pad(x, geometry.pad_argument(pads, channels_last=False))
        kernel = kernel.permute(self.rank + 1, self.rank, *range(self.rank))  # (k..., in, out) -> (out, in, k...)
        y = _CONVOLVE[self.rank](x, kernel, bias, strides, 0, dilation)
        return y.permute(geometry.TO_CHANNELS_LAST[self.rank]) if last else y

    def _check_inputs(self, inputs: Tensor, shape: Sequence[int]) -> None:
        if tuple(shape[1:]) != self._step_shape:
            raise ValueError(
                f"{self._described()}: got inputs of shape {tuple(inputs.shape)}, expected steps of shape {self._step_shape}, "
                "as it was built for."
            )

    def compute_output_shape(self, inputs_shape: Shape, states_shape: Any = None) -> Any:
        state = self.state_shape(inputs_shape)
        return state, [state, state]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }
