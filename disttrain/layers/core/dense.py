"""Fully connected layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import activations, initializers, regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Dense(Layer):
    """Affine map of the last axis, then an activation: `y = act(x @ kernel + bias)`.

    Args:
        units: size of the last output axis, 1 or more.
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        use_bias: learn an offset. Turn it off before a normalisation layer, which brings its own.

    Input shape: `(..., features)`. Output shape: `(..., units)`.
    Weights: `kernel (features, units)`, Glorot uniform (Glorot & Bengio 2010, eq. 16); `bias (units,)`, zeros.

    Example:
        >>> import torch
        >>> Dense(4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        units: int,
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
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ValueError(f"Dense(units={units!r}): expected an integer, 1 or more, the size of the last output axis.")
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self._linear = self.activation is activations.linear

    def build(self, input_shape: Shape) -> None:
        if not input_shape or input_shape[-1] is None:
            raise ValueError(f"Dense {self.name!r}: got an input of shape {input_shape}; the size of its last axis must be known.")
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units), self.kernel_initializer, self.kernel_regularizer)
        self.bias = self.add_weight("bias", (self.units,), self.bias_initializer, self.bias_regularizer) if self.use_bias else None

    def call(self, inputs: Tensor) -> Tensor:
        kernel, bias = self.kernel, self.bias
        if bias is not None and inputs.ndim == 2:  # noqa: SIM108
            y = torch.addmm(bias, inputs, kernel)  # F.linear would transpose twice, there and back, in both passes
        else:
            y = F.linear(inputs, kernel.t(), bias)  # (..., features) -> (..., units)
        return y if self._linear else self.activation(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }
