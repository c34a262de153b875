"""What layers that make one tensor of several have in common: which shapes go together, and what becomes of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.arrays import as_tensor
from disttrain.layers.layer import Layer
from disttrain.layers.structure import is_shape
from disttrain.layers.symbolic import Shape


class Merge(Layer):
    """Element by element over a list of tensors, which broadcast.

    A tensor of fewer axes gets axes of size 1 after the batch, as in Keras: `(batch, 4)` beside `(batch, 5, 4)` is `(batch, 1, 4)`.

    Masks: the output counts where any input does; without a mask on every input it has none.
    """

    _output_keeps_dtype = True
    _starts_mask = False

    def build(self, input_shape: list[Shape]) -> None:
        check_list(self, input_shape)
        self.compute_output_shape(input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        return self._merge(self._aligned(inputs))

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        """The output for tensors of as many axes each."""
        raise NotImplementedError

    def _aligned(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if isinstance(inputs, Tensor) or not isinstance(inputs, list | tuple):
            raise ValueError(f"{self._described()}: expected a list of tensors, got {type(inputs).__name__}.")
        rank, batch = max(x.ndim for x in inputs), inputs[0].shape[0]
        if any(x.shape[0] != batch for x in inputs):
            raise ValueError(f"{self._described()}: batch sizes differ in shapes {[tuple(x.shape) for x in inputs]}.")
        return [_widened(x, rank) for x in inputs]

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        check_list(self, input_shape)
        rank = max(len(shape) for shape in input_shape)
        batches = {shape[0] for shape in input_shape} - {None}
        if len(batches) > 1:
            raise ValueError(f"{self._described()}: batch sizes differ in shapes {list(input_shape)}.")
        aligned = [(*[1] * (rank - len(shape)), *shape[1:]) for shape in input_shape]
        merged = [self._broadcast(sizes, input_shape) for sizes in zip(*aligned, strict=True)]
        return (batches.pop() if batches else None, *merged)

    def _broadcast(self, sizes: tuple[int | None, ...], shapes: Any) -> int | None:
        known = {size for size in sizes if size not in (None, 1)}
        if len(known) > 1:
            raise ValueError(f"{self._described()}: shapes {list(shapes)} do not broadcast.")
        return known.pop() if known else None if None in sizes else 1

    def compute_mask(self, inputs: list[Tensor], previous_mask: list[Tensor | None] | None = None) -> Tensor | None:
        if previous_mask is None or any(mask is None for mask in previous_mask):
            return None
        rank = max(x.ndim for x in inputs)
        merged: Tensor | None = None
        for x, mask in zip(inputs, previous_mask, strict=True):
            assert mask is not None
            x, mask = x if hasattr(x, "ndim") else as_tensor(x), as_tensor(mask)  # x may be symbolic
            mask = _widened(mask, mask.ndim + rank - x.ndim)
            merged = mask if merged is None else torch.logical_or(merged, mask)
        return merged


def check_list(layer: Layer, input_shape: Any) -> None:
    """Refuse anything but the shapes of a list of tensors, each with a batch."""
    if not isinstance(input_shape, list | tuple) or is_shape(input_shape) or not all(is_shape(shape) for shape in input_shape):
        raise ValueError(f"{layer._described()}: expected a list of tensors, got one of shape {input_shape}.")
    if any(not shape for shape in input_shape):
        raise ValueError(f"{layer._described()}: expected tensors with a batch axis, got shapes {list(input_shape)}.")


def trailing(mask: Tensor, rank: int) -> Tensor:
    """A mask of steps with axes of size 1 for the features behind them, `rank` axes in all."""
    return mask.reshape(*mask.shape, *[1] * (rank - mask.ndim))


def _widened(x: Tensor, rank: int) -> Tensor:
    """`x` with axes of size 1 after the batch, `rank` axes in all."""
    return x if x.ndim == rank else x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:])
