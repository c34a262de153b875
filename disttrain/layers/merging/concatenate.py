"""Tensors one after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.arrays import as_tensor
from disttrain.layers.layer import Layer
from disttrain.layers.merging.merge import check_list, trailing
from disttrain.layers.symbolic import Shape


class Concatenate(Layer):
    """A list of tensors joined along `axis`; the other axes must agree.

    Masks are joined too, those of tensors without one all True; along the last axis, which masks do not have, a step counts where it
    counts in any of them.

    Args:
        axis: along which, the batch counted; negative from the end.

    Raises:
        ValueError: an `axis` that is no integer; an input that is no list, or shapes that differ in another axis than `axis`.

    Example:
        >>> import torch
        >>> Concatenate()([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])])
        tensor([[1., 2., 3.]])
    """

    _output_keeps_dtype = True
    _starts_mask = False

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ValueError(f"Concatenate(axis={axis!r}): expected an integer.")
        self.axis = axis

    def build(self, input_shape: list[Shape]) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        if isinstance(inputs, Tensor) or not isinstance(inputs, list | tuple):
            raise ValueError(f"{self._described()}: expected a list of tensors, got {type(inputs).__name__}.")
        return torch.cat(list(inputs), self.axis)

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        check_list(self, input_shape)
        rank = len(input_shape[0])
        if any(len(shape) != rank for shape in input_shape) or not -rank <= self.axis < rank:
            raise ValueError(
                f"{self._described()}: expected shapes of the same number of axes, with axis {self.axis}; got {list(input_shape)}."
            )
        joined = self.axis % rank
        output: list[int | None] = []
        for axis, sizes in enumerate(zip(*input_shape, strict=True)):
            known = {size for size in sizes if size is not None}
            if axis == joined:
                output.append(None if None in sizes else sum(sizes))
            elif len(known) > 1:
                raise ValueError(
                    f"{self._described()}: requires inputs with matching shapes except for the concatenation axis, {self.axis}; "
                    f"got {list(input_shape)}."
                )
            else:
                output.append(next(iter(known), None) if axis else sizes[0])
        return tuple(output)

    def compute_mask(self, inputs: list[Tensor], previous_mask: list[Tensor | None] | None = None) -> Tensor | None:
        if previous_mask is None or all(mask is None for mask in previous_mask):
            return None
        masks = [None if mask is None else as_tensor(mask) for mask in previous_mask]
        steps = [_mask_of_steps(as_tensor(x), mask) for x, mask in zip(inputs, masks, strict=True)]
        if self.axis % inputs[0].ndim < inputs[0].ndim - 1:
            return torch.cat(steps, self.axis % inputs[0].ndim)
        joined = steps[0]
        for mask in steps[1:]:
            joined = torch.logical_or(joined, mask)
        return joined

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _mask_of_steps(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mask with all axes of `x` but the last: True without one; of a mask as large as `x`, where any feature counts."""
    if mask is None:
        return torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    return mask.any(-1) if mask.ndim == x.ndim else trailing(mask, x.ndim - 1).expand(x.shape[:-1])


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis, **kwargs)(inputs)
