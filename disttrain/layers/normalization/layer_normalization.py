"""Layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.normalization.affine import AffineNormalization, checked_axes, known_sizes, places_of
from disttrain.layers.symbolic import Shape


class LayerNormalization(AffineNormalization):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each sample over `axis` (Ba, Kiros & Hinton 2016).

    Args:
        axis: one axis or several; gamma and beta have their shape, the axes sorted as numbers.
        epsilon: added to the biased variance; 1e-3 as in Keras (torch: 1e-5).
        center, scale: learn `beta`, learn `gamma`.
        rms_scaling: `gamma * x / sqrt(variance + epsilon)`, as older Keras called it; it takes the variance, not the mean square, so
            `RMSNormalization` is meant nearly always.

    Weights: `gamma`, ones; `beta`, zeros. Computed in float32 at least.

    Raises:
        ValueError: an `axis` that is no integer or list of them, an `epsilon` below 0; an input without those axes or with unknown sizes
            there.
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
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        rms_scaling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta=(beta_initializer, beta_regularizer, beta_constraint),
            gamma=(gamma_initializer, gamma_regularizer, gamma_constraint),
            **kwargs,
        )
        self.axis = checked_axes(axis, "LayerNormalization")
        self.rms_scaling = bool(rms_scaling)
        self._autocast = False  # float32 inputs are not rounded to half before they are normalized in float32

    def build(self, input_shape: Shape) -> None:
        self._places = places_of(self.axis, input_shape, self._described())
        sizes = known_sizes(self._places, input_shape, self._described())
        rank = len(input_shape)
        axes = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)  # as Keras sorts them: -1 before 1
        shape = [sizes[self._places.index(axis % rank)] for axis in axes]
        self._trailing = self._places == list(range(rank - len(shape), rank)) == [axis % rank for axis in axes]
        self._spread = [
            sizes[self._places.index(place)] if place in self._places else 1 for place in range(rank)
        ]  # how weights meet the input
        self._add_affine(shape, scale=self.scale or self.rms_scaling, center=self.center and not self.rms_scaling)
        self._first = axes[0] if axes[0] < 0 else self._places[0]  # counted from the end, tensors of any rank will do
        self.axis = axes  # so Keras writes it once it is built

    def call(self, inputs: Tensor) -> Tensor:
        x, gamma, beta = self._at_work(inputs)
        if self._trailing and not self.rms_scaling:
            return F.layer_norm(x, x.shape[self._first :], gamma, beta, self.epsilon).to(self._compute_dtype)
        variance, mean = torch.var_mean(x, self._places, correction=0, keepdim=True)
        factor = torch.rsqrt(variance + self.epsilon)
        y = (x if self.rms_scaling else x - mean) * factor
        y = y if gamma is None else y * gamma.view(self._spread)
        return (y if beta is None else y + beta.view(self._spread)).to(self._compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "rms_scaling": self.rms_scaling}
