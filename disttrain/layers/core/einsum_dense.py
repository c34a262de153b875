"""A product with a kernel along any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations, regularizers
from disttrain.initializers import VarianceScaling
from disttrain.layers.core import einsum_equation
from disttrain.layers.core.weight_settings import add_configured, keep_settings, refuse_adapters, settings_config
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape, SymbolicTensor


class EinsumDense(Layer):
    """`act(einsum(equation, x, kernel) + bias)`: which axes are summed over, and where the new ones go, is up to the equation.

    Args:
        equation: input, kernel and output, such as `"ab,bc->ac"` (a `Dense`); `...` stands for any number of axes on the left of input
            and output, or on the right of both.
        output_shape: of the output, without the batch and without what `...` stands for; None in it where the input says the size.
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        bias_axes: letters of the output along which the bias differs; None for no bias.
        kernel_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Weights: `kernel`, of the sizes that the equation says, Glorot uniform with the axes summed over as inputs; `bias`, zeros, with 1 for
        axes of the output between and after those of `bias_axes`.

    Raises:
        ValueError: an `equation` that cannot be read, or that does not fit `output_shape`, `bias_axes` or the input.

    Example:
        >>> import torch
        >>> EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d")(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_adapters("EinsumDense", kwargs)
        super().__init__(**kwargs)
        self.equation = equation
        self._parts = einsum_equation.parse(equation, "EinsumDense")
        sizes = (
            (output_shape,) if isinstance(output_shape, int) else tuple(output_shape) if isinstance(output_shape, list | tuple) else (0,)
        )
        if not all(size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0) for size in sizes):
            raise ValueError(
                f"EinsumDense(output_shape={output_shape!r}): expected an integer of 1 or more, or several, or None among them."
            )
        if bias_axes is not None and (not isinstance(bias_axes, str) or not bias_axes or not set(bias_axes) <= set(self._parts.outputs)):
            raise ValueError(
                f"EinsumDense(bias_axes={bias_axes!r}): expected letters of the output, {self._parts.outputs!r}, or None for no bias."
            )
        self.partial_output_shape: Shape = sizes
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        keep_settings(
            self,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self._linear = self.activation is activations.linear

    def build(self, input_shape: Shape) -> None:
        described, parts = self._described(), self._parts
        whole = self.compute_output_shape(input_shape)
        shape = einsum_equation.kernel_shape(parts, input_shape, whole, described)
        initializer = self.kernel_initializer
        if isinstance(initializer, VarianceScaling) and (initializer.input_axes is None or initializer.output_axes is None):
            axes = {"input_axes": parts.input_axes, "output_axes": parts.output_axes}
            initializer = initializer.from_config({**initializer.get_config(), **axes})
        self.kernel = add_configured(self, "kernel", shape, initializer=initializer)
        self.bias = None
        if self.bias_axes is not None:
            self.bias = add_configured(self, "bias", einsum_equation.bias_shape(parts, self.bias_axes, whole, described))
        # A matrix product of the flattened axes is the same and needs a fraction of einsum's preparations.
        self._summed = parts.summed_last
        self._summed_sizes, self._new_sizes = shape[: self._summed or 0], shape[self._summed or 0 :]
        own = None if self.bias is None else tuple(self.bias.shape)
        self._fused_bias = own is not None and own == self._new_sizes

    def call(self, inputs: Tensor) -> Tensor:
        if self._summed is None:
            y = torch.einsum(self.equation, inputs, self.kernel)
            y = y if self.bias is None else y + self.bias
        else:
            y = self._matrix_product(inputs, self._summed)
        return y if self._linear else self.activation(y)

    def _matrix_product(self, inputs: Tensor, summed: int) -> Tensor:
        kept = inputs.shape[: inputs.ndim - summed]
        if inputs.shape[len(kept) :] != self._summed_sizes:
            raise ValueError(
                f"{self._described()}: got an input of shape {tuple(inputs.shape)}, expected (..., "
                f"{', '.join(map(str, self._summed_sizes))})."
            )
        columns = math.prod(self._new_sizes)
        x, kernel = inputs.reshape(-1, math.prod(self._summed_sizes)), self.kernel.reshape(-1, columns)
        bias = self.bias
        if bias is not None and self._fused_bias:
            return torch.addmm(bias.reshape(-1), x, kernel).view(*kept, *self._new_sizes)
        y: Tensor = (x @ kernel).view(*kept, *self._new_sizes)
        return y if bias is None else y + bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return einsum_equation.output_shape(self._parts, input_shape, self.partial_output_shape, self._described())

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """As Keras gives it, but with the sizes that the input knows in the place of None."""
        inputs = args[0] if args else kwargs["inputs"]
        whole = einsum_equation.filled(self._parts, inputs.shape, self.compute_output_shape(inputs.shape))
        return SymbolicTensor(whole, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_shape": self.partial_output_shape,
            "equation": self.equation,
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            **settings_config(self, "kernel", "bias"),
        }
