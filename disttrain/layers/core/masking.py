"""Steps that do not count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Masking(Layer):
    """Steps whose features all equal `mask_value` become zeros, and the mask that layers further on get is False there.

    Args:
        mask_value: a number; compared exactly, so give one that data hold exactly, such as 0 or -1.

    Input and output shape: `(batch, steps, features)`; the mask is `(batch, steps)`.

    Raises:
        ValueError: `mask_value` is no number.

    Example:
        >>> Masking(-1.0)(torch.tensor([[[5.0, -1.0], [-1.0, -1.0]]]))
        tensor([[[ 5., -1.],
                 [ 0.,  0.]]])
    """

    _output_keeps_dtype = True

    _needs_no_build = True

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(mask_value, bool | str) or mask_value is None:
            raise ValueError(f"Masking(mask_value={mask_value!r}): expected a number.")
        self.mask_value = mask_value

    def call(self, inputs: Tensor) -> Tensor:
        return torch.where((inputs != self.mask_value).any(-1, keepdim=True), inputs, 0)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return (inputs != self.mask_value).any(-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
