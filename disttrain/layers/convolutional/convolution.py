"""What all convolutions have in common: windows, a bias, an activation, and where channels lie."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain import activations, constraints, initializers, regularizers
from disttrain.layers.geometry import (
    AXES,
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    channels,
    check_data_format,
    check_fits,
    check_padding,
    check_rank,
    output_size,
    pad_argument,
    same_padding,
    shape_of,
    sizes,
    spatial,
)
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Convolution(Layer):
    """A convolution over `rank` axes. Subclasses make the kernels in `build` and slide them in `_convolve`.

    Memory: with channels last, `_convolve` sees the input through a view in torch's order of axes, which torch knows as its own
    `channels_last` format, and the kernel through a view too; nothing is copied on the way in or out.
    """

    rank: int
    _kinds: tuple[str, ...] = ("kernel", "bias")  # weights with an initializer, a regularizer and a constraint each
    _causal = False  # may the padding be "causal"?
    _strides_exclude_dilation = True
    _input_channels: int | None = None  # what the weights were made for

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        data_format: Any,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        weights: dict[str, tuple[Any, Any, Any]],
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        for argument in ("lora_rank", "lora_alpha"):
            if kwargs.pop(argument, None) is not None:
                raise ValueError(f"{owner}({argument}=...) is not supported: kernels are trained or frozen whole. Leave it None.")
        super().__init__(**kwargs)
        self.kernel_size = sizes(kernel_size, self.rank, "kernel_size", owner)
        self.strides = sizes(strides, self.rank, "strides", owner)
        self.dilation_rate = sizes(dilation_rate, self.rank, "dilation_rate", owner)
        if self._strides_exclude_dilation and max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{owner}: Specifying `strides > 1` is not compatible with `dilation_rate > 1`: only one of them may be more than 1. "
                f"Received: strides={strides}, dilation_rate={dilation_rate}"
            )
        self.padding = check_padding(padding, owner, self._causal)
        self.data_format = check_data_format(data_format, owner)
        self.use_bias = bool(use_bias)
        self.activation = activations.get(activation)
        for kind, (initializer, regularizer, constraint) in weights.items():
            setattr(self, f"{kind}_initializer", initializers.get(initializer))
            setattr(self, f"{kind}_regularizer", regularizers.get(regularizer))
            setattr(self, f"{kind}_constraint", constraints.get(constraint))
        self._linear = self.activation is activations.linear
        self._last = self.data_format == "channels_last"
        self._to_torch, self._to_keras = TO_CHANNELS_FIRST[self.rank], TO_CHANNELS_LAST[self.rank]
        self._kernel_to_torch = (self.rank + 1, self.rank, *range(self.rank))  # (k..., in, out) -> (out, in, k...)

    # -- weights --------------------------------------------------------------------------------------------------------------------

    def _check_input(self, input_shape: Shape) -> int | None:
        """The channels of an input, unless it has another number of axes, or of channels than the weights were made for."""
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        found, expected = channels(input_shape, self.data_format), self._input_channels
        if expected is not None and found not in (None, expected):
            raise ValueError(
                f"{self._described()}: got an input of shape {tuple(input_shape)} with {found} channels, expected {expected}; "
                f"data_format is {self.data_format!r}."
            )
        return found

    def _channels_for(self, input_shape: Shape) -> int:
        """The channels that weights are to be made for; refuses an input that a window does not fit into."""
        found = self._check_input(input_shape)
        if found is None:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; the number of channels must be known.")
        self.compute_output_shape(input_shape)
        self._input_channels = found
        return found

    def _add(self, name: str, kind: str, shape: tuple[int, ...]) -> Any:
        found = [getattr(self, f"{kind}_{what}") for what in ("initializer", "regularizer", "constraint")]
        return self.add_weight(name, shape, found[0], found[1], constraint=found[2])

    def _add_bias(self, filters: int) -> None:
        self.bias = self._add("bias", "bias", (filters,)) if self.use_bias else None

    # -- computing ------------------------------------------------------------------------------------------------------------------

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2 or inputs.shape[-1 if self._last else 1] != self._input_channels:
            self._check_input(inputs.shape)
        inputs, padding = self._padded(inputs)
        y = self._convolve(inputs.permute(self._to_torch) if self._last else inputs, padding)
        y = y.permute(self._to_keras) if self._last else y
        return y if self._linear else self.activation(y)

    def _strided(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """`x` and the strides to convolve it with. A window of one element that strides takes every s-th element: those are picked first.

        torch 2.13's CPU kernel for such a window writes beyond its memory in the backward pass (seen with 4 channels last in memory and
        stride 2): it is never asked to.
        """
        if max(self.kernel_size) > 1 or max(self.strides) == 1:
            return x, self.strides
        return x[(slice(None), slice(None), *(slice(None, None, stride) for stride in self.strides))], (1,) * self.rank

    def _convolve(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        """The output for `x`, both in torch's order of axes, with `padding` zeros on both sides of each axis."""
        raise NotImplementedError

    def _padded(self, inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """The input, and the zeros that the convolution itself has to put on both sides; an uneven padding is a copy of the input."""
        if self.padding == "valid":
            return inputs, (0,) * self.rank
        windows = zip(
            inputs.shape[1:-1] if self._last else inputs.shape[2:], self.kernel_size, self.strides, self.dilation_rate, strict=True
        )
        if self.padding == "causal":
            pads = [(dilation * (window - 1), 0) for _, window, _, dilation in windows]
        else:
            pads = [same_padding(size, window, stride, dilation) for size, window, stride, dilation in windows]
        if all(before == after for before, after in pads):
            return inputs, tuple(before for before, _ in pads)
        return F.pad(inputs, pad_argument(pads, self._last)), (0,) * self.rank

    # -- describing -----------------------------------------------------------------------------------------------------------------

    def _output_channels(self, input_channels: int | None) -> int | None:
        raise NotImplementedError

    def _output_sizes(self, input_sizes: Shape) -> list[int | None]:
        windows = zip(input_sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        return [output_size(size, window, stride, self.padding, dilation) for size, window, stride, dilation in windows]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        found = self._check_input(input_shape)
        output_sizes = self._output_sizes(spatial(input_shape, self.data_format))
        check_fits(output_sizes, input_shape, self._described())
        return shape_of(input_shape[0], output_sizes, self._output_channels(found), self.data_format)

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }
        for kind in self._kinds:
            config[f"{kind}_initializer"] = initializers.serialize(getattr(self, f"{kind}_initializer"))
            config[f"{kind}_regularizer"] = regularizers.serialize(getattr(self, f"{kind}_regularizer"))
            config[f"{kind}_constraint"] = constraints.serialize(getattr(self, f"{kind}_constraint"))
        return config
