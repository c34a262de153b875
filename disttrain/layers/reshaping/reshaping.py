"""Layers that only arrange: Flatten and Reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.geometry import check_data_format
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Flatten(Layer):
    """Everything but the batch in one axis; `(batch,)` becomes `(batch, 1)`.

    Args:
        data_format: "channels_first" moves the channels last before flattening, as Keras does.
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


class Reshape(Layer):
    """Another arrangement of the axes after the batch.

    Args:
        target_shape: without the batch; one size may be -1, which is then whatever is left.
    """

    _output_keeps_dtype = True

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shape = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        if shape.count(-1) > 1 or any(not isinstance(size, int) or size < -1 for size in shape):
            raise ValueError(f"Reshape(target_shape={target_shape!r}): expected sizes of 0 or more, with -1 at most once.")
        self.target_shape = shape

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self.target_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes, wanted = input_shape[1:], math.prod(size for size in self.target_shape if size != -1)
        if None in sizes:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        total = math.prod(sizes)  # type: ignore[arg-type]
        if (total != wanted) if -1 not in self.target_shape else (wanted == 0 or total % wanted):
            raise ValueError(f"{self._described()}: an input of shape {input_shape} cannot take target_shape={self.target_shape}.")
        return (input_shape[0], *(total // wanted if size == -1 else size for size in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}
