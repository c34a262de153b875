"""Batch normalisation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import initializers, regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class BatchNormalization(Layer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each channel over the batch (Ioffe & Szegedy 2015).

    When training, mean and biased variance are those of the batch, or of the slice that a virtual worker computes, and the moving
    statistics follow: `moving = moving * momentum + batch * (1 - momentum)`. When inferring, and when frozen
    (`trainable = False`), the moving statistics take their place.

    Args:
        axis: the axis of the channels.
        momentum: of the moving statistics; near 1 is slow. (torch writes 1 minus this.)
        epsilon: added to the variance.
        center, scale: learn `beta`, learn `gamma`.

    Weights: `gamma (channels,)`, ones; `beta (channels,)`, zeros; buffers `moving_mean`, zeros, and `moving_variance`, ones.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ValueError(f"BatchNormalization(axis={axis!r}): expected the axis of the channels, an integer other than 0.")
        self.axis, self.momentum, self.epsilon, self.center, self.scale = axis, float(momentum), float(epsilon), center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def build(self, input_shape: Shape) -> None:
        if not -len(input_shape) <= self.axis < len(input_shape) or input_shape[self.axis] is None:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; axis {self.axis} must be there, of known size.")
        shape = (input_shape[self.axis],)
        self.gamma = self.add_weight("gamma", shape, self.gamma_initializer, self.gamma_regularizer) if self.scale else None
        self.beta = self.add_weight("beta", shape, self.beta_initializer, self.beta_regularizer) if self.center else None
        self.moving_mean = self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.moving_variance = self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = inputs.movedim(self.axis, 1) if inputs.ndim > 2 else inputs  # torch's place for channels, without moving memory
        if training and self._trainable:
            y = self._normalized_by_batch(x)
        else:
            y = F.batch_norm(x, self.moving_mean, self.moving_variance, self.gamma, self.beta, False, 0.0, self.epsilon)
        return y.movedim(1, self.axis) if inputs.ndim > 2 else y

    def _normalized_by_batch(self, x: Tensor) -> Tensor:
        count = x.numel() // x.shape[1]
        if count == 1:  # torch computes its unbiased variance by dividing by count - 1
            mean, variance = x.detach().flatten().clone(), torch.zeros_like(self.moving_variance)
            shift = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device) if self.beta is None else self.beta
            y = (x - x) * (1.0 if self.gamma is None else self.gamma.view(1, -1, *[1] * (x.ndim - 2)))
            y = y + shift.view(1, -1, *[1] * (x.ndim - 2))
        else:
            mean, variance = torch.zeros_like(self.moving_mean), torch.zeros_like(self.moving_variance)
            y = F.batch_norm(x, mean, variance, self.gamma, self.beta, True, 1.0, self.epsilon)  # fills mean and unbiased variance
            variance = variance * ((count - 1) / count)  # not in place: the backward pass keeps the other
        with torch.no_grad():
            self.moving_mean.mul_(self.momentum).add_(mean, alpha=1.0 - self.momentum)
            self.moving_variance.mul_(self.momentum).add_(variance, alpha=1.0 - self.momentum)
        return y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }
