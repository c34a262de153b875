"""Fully connected layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import activations
from disttrain.layers.core.weight_settings import add_configured, keep_settings, refuse_adapters, settings_config
from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Dense(Layer):
    """Affine map of the last axis, then an activation: `y = act(x @ kernel + bias)`.

    Args:
        units: size of the last output axis, 1 or more.
        activation: a name such as `"relu"`, a callable, or None to stay linear.
        use_bias: learn an offset. Turn it off before a normalisation layer, which brings its own.
        kernel_constraint, bias_constraint: what a weight becomes after each update; `disttrain.constraints`.

    Input shape: `(batch, ..., features)`. Output shape: `(batch, ..., units)`. A mask goes on to the output.
    Weights: `kernel (features, units)`, Glorot uniform (Glorot & Bengio 2010, eq. 16); `bias (units,)`, zeros.

    Raises:
        ValueError: `units` below 1; an input with one axis, or whose last axis is unknown or another than built for.

    Example:
        >>> import torch
        >>> Dense(4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    supports_masking = True

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
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_adapters("Dense", kwargs)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = integer(units, "units", "Dense", meaning="the size of the last output axis")
        self.use_bias = bool(use_bias)
        self.activation = activations.get(activation)
        keep_settings(
            self,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self._linear = self.activation is activations.linear
        self._features: int | None = None

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self._described()}: got an input of shape {input_shape}, expected 2 axes or more; the size of the last must be known."
            )
        self._features = input_shape[-1]
        self.kernel = add_configured(self, "kernel", (self._features, self.units))
        self.bias = add_configured(self, "bias", (self.units,)) if self.use_bias else None

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.shape[-1] != self._features:
            raise ValueError(f"{self._described()}: got an input of shape {tuple(inputs.shape)}, expected {self._features} features.")
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
            **settings_config(self, "kernel", "bias"),
        }
