"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain import initializers, regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class LayerNormalization(Layer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each sample over `axis` (Ba, Kiros & Hinton 2016).

    Args:
        axis: one axis or several; gamma and beta have their shape.
        epsilon: added to the biased variance; 1e-3 as in Keras (torch: 1e-5).
        center, scale: learn `beta`, learn `gamma`.

    Weights: `gamma`, ones; `beta`, zeros.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, int | list | tuple) or not all(isinstance(a, int) for a in _axes(axis)):
            raise ValueError(f"LayerNormalization(axis={axis!r}): expected an integer or several.")
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon, self.center, self.scale = float(epsilon), center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in _axes(self.axis)):
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}, which has no axis {self.axis}.")
        self._normalized = sorted(axis % rank for axis in _axes(self.axis))
        shape = tuple(input_shape[axis] for axis in self._normalized)
        if None in shape:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; the sizes of axis {self.axis} must be known.")
        self._trailing = self._normalized == list(range(rank - len(shape), rank))
        self.gamma = self.add_weight("gamma", shape, self.gamma_initializer, self.gamma_regularizer) if self.scale else None
        self.beta = self.add_weight("beta", shape, self.beta_initializer, self.beta_regularizer) if self.center else None

    def call(self, inputs: Tensor) -> Tensor:
        if self._trailing:
            return F.layer_norm(inputs, inputs.shape[self._normalized[0] :], self.gamma, self.beta, self.epsilon)
        places = list(range(inputs.ndim - len(self._normalized), inputs.ndim))
        x = inputs.movedim(self._normalized, places)
        y = F.layer_norm(x, x.shape[places[0] :], self.gamma, self.beta, self.epsilon)
        return y.movedim(places, self._normalized)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }


def _axes(axis: int | Sequence[int]) -> list[int]:
    return [axis] if isinstance(axis, int) else list(axis)
