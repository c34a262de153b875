"""All axes after the batch in one."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from disttrain.layers.geometry import check_data_format
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Flatten(Layer):
    """Everything but the batch in one axis; `(batch,)` becomes `(batch, 1)`.

    Args:
        data_format: "channels_first" moves the channels last before flattening, as Keras does.

    Raises:
        ValueError: an unknown `data_format`.

    Example:
        >>> import torch
        >>> Flatten()(torch.zeros(2, 3, 4)).shape
        torch.Size([2, 12])
    """

    _output_keeps_dtype = True

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format(data_format, "Flatten")

    def call(self, inputs: Tensor) -> Tensor:
        if self.data_format == "channels_first" and inputs.ndim > 1:
            inputs = inputs.movedim(1, -1)
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}
