"""Layers that make one tensor of several: Add and Concatenate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.structure import is_shape
from disttrain.layers.symbolic import Shape


class Add(Layer):
    """The sum of a list of tensors, which broadcast; a tensor of fewer axes gets axes of size 1 after the batch, as in Keras."""

    def build(self, input_shape: list[Shape]) -> None:
        _check_list(self, input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        rank = max(x.ndim for x in inputs)
        total, *rest = [x if x.ndim == rank else x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        for x in rest:
            total = total + x
        return total

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        rank = max(len(shape) for shape in input_shape)
        aligned = [(*shape[:1], *[1] * (rank - len(shape)), *shape[1:]) for shape in input_shape]
        return tuple(_broadcast(sizes, input_shape, self._described()) for sizes in zip(*aligned, strict=True))


class Concatenate(Layer):
    """A list of tensors joined along `axis`; the other axes must agree."""

    _output_keeps_dtype = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: list[Shape]) -> None:
        _check_list(self, input_shape)
        self.compute_output_shape(input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        return torch.cat(list(inputs), self.axis)

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
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
                raise ValueError(f"{self._described()}: shapes must agree except in axis {self.axis}; got {list(input_shape)}.")
            else:
                output.append(next(iter(known), None) if axis else sizes[0])
        return tuple(output)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis, **kwargs)(inputs)


def _check_list(layer: Layer, input_shape: Any) -> None:
    if is_shape(input_shape) or len(input_shape) < 1:
        raise ValueError(f"{type(layer).__name__} {layer.name!r}: expected a list of tensors, got one of shape {input_shape}.")


def _broadcast(sizes: tuple[int | None, ...], shapes: Any, described: str) -> int | None:
    known = {size for size in sizes if size not in (None, 1)}
    if len(known) > 1:
        raise ValueError(f"{described}: shapes {list(shapes)} do not broadcast.")
    return known.pop() if known else None if None in sizes else 1
