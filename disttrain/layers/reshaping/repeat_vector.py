"""One vector as several equal steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import check_rank, integer
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class RepeatVector(Layer):
    """Each vector `n` times, as the steps of a sequence: the bridge from an encoder to a decoder.

    Args:
        n: how many steps, 1 or more.

    Input shape: `(batch, features)`. Output shape: `(batch, n, features)`.

    Raises:
        ValueError: `n` below 1; an input that is not `(batch, features)`.

    Example:
        >>> import torch
        >>> RepeatVector(2)(torch.tensor([[1.0, 2.0]])).tolist()
        [[[1.0, 2.0], [1.0, 2.0]]]
    """

    _output_keeps_dtype = True

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = integer(n, "n", "RepeatVector", meaning="the number of steps, which should be a positive integer")

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 2:
            check_rank(inputs.shape, 2, self._described(), "batch and features")
        return inputs.unsqueeze(1).repeat(1, self.n, 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, 2, self._described(), "batch and features")
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
