"""Root mean square normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.normalization.affine import checked_axes, checked_epsilon, known_sizes, places_of, wide
from disttrain.layers.symbolic import Shape


class RMSNormalization(Layer):
    """`scale * x / sqrt(mean(x^2) + epsilon)`, each sample over `axis` (Zhang & Sennrich 2019).

    Args:
        axis: one axis or several; `scale` has their shape, in the order of the axes.
        epsilon: added to the mean square.

    Weights: `scale`, ones. Computed in float32 at least. A mask does not go on to the output, as in Keras.

    Raises:
        ValueError: an `axis` that is no integer or list of them, an `epsilon` below 0; an input without those axes or with unknown sizes
            there.

    Example:
        >>> import torch
        >>> RMSNormalization(epsilon=0.0)(torch.tensor([[2.0, 2.0]])).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axes(axis, "RMSNormalization")
        self.epsilon = checked_epsilon(epsilon, "RMSNormalization")

    def build(self, input_shape: Shape) -> None:
        self._places = places_of(self.axis, input_shape, self._described())
        shape = known_sizes(self._places, input_shape, self._described())
        rank = len(input_shape)
        self._trailing = self._places == list(range(rank - len(shape), rank))
        self._spread = [
            shape[self._places.index(place)] if place in self._places else 1 for place in range(rank)
        ]  # how the weight meets the input
        self.scale = self.add_weight("scale", shape, "ones")
        self.axis = sorted([self.axis] if isinstance(self.axis, int) else self.axis)  # so Keras writes it once it is built

    def call(self, x: Tensor) -> Tensor:
        scale = self.scale
        dtype = wide(x.dtype, scale)
        wider = x.to(dtype)
        if self._trailing:
            y = F.rms_norm(wider, scale.shape, scale.to(dtype), self.epsilon)
        else:
            factor = torch.rsqrt(wider.square().mean(self._places, keepdim=True) + self.epsilon)
            y = wider * factor * scale.to(dtype).view(self._spread)
        return y.to(self._compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
