"""LSTMs over images: the products are convolutions, the states images."""

from __future__ import annotations

from typing import Any, ClassVar

from disttrain.layers.recurrent.cell import given
from disttrain.layers.recurrent.conv_lstm_cell import ConvLSTMCell
from disttrain.layers.recurrent.recurrent_layer import RecurrentLayer, of_cell
from disttrain.layers.symbolic import Shape


class ConvLSTM(RecurrentLayer):
    """An LSTM whose products with the kernels are convolutions (Shi et al. 2015, without the peepholes of the cell).

    `c' = s(f) * c + s(i) * a(c~)`, `h' = s(o) * a(c')`, each gate `x * kernel + h * recurrent_kernel + bias` with `*` a convolution,
    that of h with stride 1 and padding "same". All inputs are convolved at once, before the first step.

    Args:
        filters: channels of the output and of the states.
        kernel_size: of both kernels; one integer, or one for each axis.
        strides, padding, dilation_rate: of the convolution of the inputs; "valid" or "same".
        data_format: "channels_last" (also None) or "channels_first".
        activation, recurrent_activation: a and s; names, callables, or None to stay linear.
        use_bias: learn an offset for each filter.
        kernel_initializer, recurrent_initializer, bias_initializer: first values of the weights.
        unit_forget_bias: the bias of the forget gate starts at 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on the weights.
        activity_regularizer: penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: what weights become after each update.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a call, by a mask for
            each gate.
        seed: sets the dropout masks apart from those of a layer with another seed.
        return_sequences, return_state, go_backwards, stateful: see `RNN`; states come as h, c.

    Input shape: `(batch, time, sizes..., channels)`, or `(batch, time, channels, sizes...)` with channels first; sizes must be known.
    Output shape: `(batch, new sizes..., filters)`, with `return_sequences` `(batch, time, new sizes..., filters)`.
    Weights: `cell.kernel (kernel sizes..., channels, 4 filters)`, Glorot uniform; `cell.recurrent_kernel (kernel sizes..., filters,
    4 filters)`, orthogonal; `cell.bias (4 filters,)`, zeros and ones.

    Raises:
        ValueError: a size below 1, strides and dilation both above 1, an unknown `padding` or `data_format`; an input with another number
            of axes, unknown sizes, or states of another shape.
    """

    cell_class = ConvLSTMCell
    rank: ClassVar[int]

    def __init__(
        self,
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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(rank=self.rank, **given(locals()))

    filters = of_cell("filters")
    kernel_size = of_cell("kernel_size")
    strides = of_cell("strides")
    padding = of_cell("padding")
    data_format = of_cell("data_format")
    dilation_rate = of_cell("dilation_rate")
    recurrent_activation = of_cell("recurrent_activation")
    unit_forget_bias = of_cell("unit_forget_bias")

    def compute_output_shape(self, sequences_shape: Shape, initial_state_shape: Any = None) -> Any:
        state = self.cell.state_shape((sequences_shape[0], *sequences_shape[2:]))
        output = (state[0], sequences_shape[1], *state[1:]) if self.return_sequences else state
        return (output, state, state) if self.return_state else output


class ConvLSTM1D(ConvLSTM):
    __doc__ = f"""{ConvLSTM.__doc__}
    Here windows slide over one axis: input `(batch, time, steps, channels)`.

    Example:
        >>> import torch
        >>> ConvLSTM1D(4, 3)(torch.zeros(2, 5, 8, 3)).shape
        torch.Size([2, 6, 4])
    """

    rank = 1
    axes = ("batch", "time", "steps", "channels")


class ConvLSTM2D(ConvLSTM):
    __doc__ = f"""{ConvLSTM.__doc__}
    Here windows slide over two axes: input `(batch, time, rows, columns, channels)`.

    Example:
        >>> import torch
        >>> ConvLSTM2D(4, 3, padding="same", return_sequences=True)(torch.zeros(2, 5, 8, 8, 3)).shape
        torch.Size([2, 5, 8, 8, 4])
    """

    rank = 2
    axes = ("batch", "time", "rows", "columns", "channels")


class ConvLSTM3D(ConvLSTM):
    __doc__ = f"""{ConvLSTM.__doc__}
    Here windows slide over three axes: input `(batch, time, depth, rows, columns, channels)`.

    Example:
        >>> import torch
        >>> ConvLSTM3D(2, 2)(torch.zeros(1, 3, 4, 4, 4, 1)).shape
        torch.Size([1, 3, 3, 3, 2])
    """

    rank = 3
    axes = ("batch", "time", "depth", "rows", "columns", "channels")
