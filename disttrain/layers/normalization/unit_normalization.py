"""Unit normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.normalization.affine import checked_axes, places_of, wide
from disttrain.layers.symbolic import Shape

_SMALLEST = 1e-12  # of the norm that is divided by, as in Keras


class UnitNormalization(Layer):
    """`x / |x|`, the Euclidean norm over `axis`, in float32 at least; zeros stay zeros.

    Args:
        axis: one axis or several, over which the squares add up to 1.

    Raises:
        ValueError: an `axis` that is no integer or list of them; an input without those axes.

    Example:
        >>> import torch
        >>> UnitNormalization()(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    supports_masking = True
    _needs_no_build = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axes(axis, "UnitNormalization")

    def call(self, inputs: Tensor) -> Tensor:
        inputs = inputs if inputs.is_floating_point() else inputs.to(self._compute_dtype)
        places_of(self.axis, tuple(inputs.shape), self._described())
        norm: Tensor = torch.linalg.vector_norm(inputs, dim=self.axis, keepdim=True, dtype=wide(inputs.dtype))
        return (inputs / norm.clamp_min(_SMALLEST)).to(inputs.dtype)  # the norm's gradient at zeros is 0, not NaN

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        places_of(self.axis, input_shape, self._described())
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
