"""Axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.layers.geometry import check_rank
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Permute(Layer):
    """The axes after the batch in another order.

    Args:
        dims: for each axis of the output the axis of the input, counted from 1, since 0 is the batch: `(2, 1)` swaps two.

    Raises:
        ValueError: `dims` that do not name each axis once, from 1; an input with another number of axes.

    Example:
        >>> import torch
        >>> Permute((2, 1))(torch.zeros(5, 10, 64)).shape
        torch.Size([5, 64, 10])
    """

    _output_keeps_dtype = True

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given: list[Any] = list(dims) if isinstance(dims, list | tuple) else [dims]
        if any(isinstance(axis, bool) or not isinstance(axis, int | np.integer) for axis in given) or sorted(given) != list(
            range(1, len(given) + 1)
        ):
            raise ValueError(
                f"Permute: Invalid permutation argument `dims`: expected each of 1 to {len(given)} once, the axes after the batch. "
                f"Received: dims={dims!r}"
            )
        self.dims = tuple(int(axis) for axis in given)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, len(self.dims) + 1, self._described(), f"the batch and those of dims={self.dims}")
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}
