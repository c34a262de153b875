"""Another arrangement of the axes after the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Reshape(Layer):
    """Another arrangement of the axes after the batch.

    Args:
        target_shape: without the batch; one size may be -1, which is then whatever is left.

    Raises:
        ValueError: a size below -1, or -1 more than once; an input with another number of values.

    Example:
        >>> import torch
        >>> Reshape((2, -1))(torch.zeros(5, 6)).shape
        torch.Size([5, 2, 3])
    """

    _output_keeps_dtype = True
    _needs_no_build = True

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = list(target_shape) if isinstance(target_shape, list | tuple) else [target_shape]
        self.target_shape = tuple(integer(size, "target_shape", "Reshape", -1, "for each axis after the batch") for size in given)
        if self.target_shape.count(-1) > 1:
            raise ValueError(f"Reshape(target_shape={target_shape!r}): expected sizes of 0 or more, with -1 at most once.")
        self._wanted = math.prod(size for size in self.target_shape if size != -1)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self._resolved(tuple(inputs.shape)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._resolved(input_shape))

    def _resolved(self, input_shape: Shape) -> list[Any]:
        """The target with a number for -1, or None where the input has sizes that are not known."""
        sizes, wanted = input_shape[1:], self._wanted
        if any(size is None for size in sizes):  # torch.compile cannot follow `None in sizes`
            return [None if size == -1 else size for size in self.target_shape]
        total = math.prod(sizes)  # type: ignore[arg-type]
        if (total != wanted) if -1 not in self.target_shape else (wanted == 0 or total % wanted):
            raise ValueError(
                f"{self._described()}: an input of shape {input_shape}, {total} numbers a sample, cannot take "
                f"target_shape={self.target_shape}."
            )
        return [total // wanted if size == -1 else size for size in self.target_shape]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}
