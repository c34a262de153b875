"""Sums, differences, products, means and extremes of tensors, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.merging.merge import Merge, check_list, trailing
from disttrain.layers.symbolic import Shape


class Add(Merge):
    """The sum of a list of tensors.

    Raises:
        ValueError: an input that is no list of tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Add()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[11., 22.]])
    """

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        total, *rest = inputs
        for x in rest:
            total = total + x
        return total


class Subtract(Merge):
    """The first tensor of a list of two minus the second.

    Raises:
        ValueError: an input that is no list of exactly two tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Subtract()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[ -9., -18.]])
    """

    def build(self, input_shape: list[Shape]) -> None:
        check_list(self, input_shape)
        if len(input_shape) != 2:
            raise ValueError(f"{self._described()}: a `Subtract` layer should be called on exactly 2 inputs, got {len(input_shape)}.")
        super().build(input_shape)

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise ValueError(f"{self._described()}: a `Subtract` layer should be called on exactly 2 inputs, got {len(inputs)}.")
        return inputs[0] - inputs[1]


class Average(Merge):
    """The mean of a list of tensors.

    Raises:
        ValueError: an input that is no list of tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Average()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[ 5.5000, 11.0000]])
    """

    _output_keeps_dtype = False  # of integers it is a float

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        total, *rest = inputs if inputs[0].is_floating_point() else [x.to(self._compute_dtype) for x in inputs]
        for x in rest:
            total = total + x
        return total / len(inputs)


class _MaskedMerge(Merge):
    """One that looks at masks: what does not count in one input does not enter the output, but where no input counts."""

    def call(self, inputs: list[Tensor], mask: list[Tensor | None] | None = None) -> Tensor:
        aligned = self._aligned(inputs)
        if mask is None:
            return self._merge(aligned)
        # As in Keras, a tensor that had to get more axes has lost its mask by now.
        kept = [m if x.ndim == before.ndim else None for x, before, m in zip(aligned, inputs, mask, strict=True)]
        return self._merge_masked(aligned, [None if m is None else trailing(m, x.ndim) for x, m in zip(aligned, kept, strict=True)])

    def _merge_masked(self, inputs: list[Tensor], masks: list[Tensor | None]) -> Tensor:
        raise NotImplementedError


class Multiply(_MaskedMerge):
    """The product of a list of tensors. What a mask rules out counts as 1, and the product is 0 where all masks do.

    Raises:
        ValueError: an input that is no list of tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Multiply()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[10., 40.]])
    """

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        total, *rest = inputs
        for x in rest:
            total = total * x
        return total

    def _merge_masked(self, inputs: list[Tensor], masks: list[Tensor | None]) -> Tensor:
        product = self._merge([x if mask is None else x.where(mask, 1) for x, mask in zip(inputs, masks, strict=True)])
        counts = [mask for mask in masks if mask is not None]
        if len(counts) < len(masks):
            return product
        anywhere = counts[0]
        for mask in counts[1:]:
            anywhere = torch.logical_or(anywhere, mask)
        return product.where(anywhere, 0)


class _Extreme(_MaskedMerge):
    """The largest or the smallest; where a mask rules one of two out, the other one is taken."""

    _pick: Callable[[Tensor, Tensor], Tensor]

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        found, *rest = inputs
        for x in rest:
            found = self._pick(found, x)
        return found

    def _merge_masked(self, inputs: list[Tensor], masks: list[Tensor | None]) -> Tensor:
        found, counts = inputs[0], masks[0]
        for x, mask in zip(inputs[1:], masks[1:], strict=True):
            if mask is not None:
                x = x.where(mask, found)
            if counts is not None:
                found = found.where(counts, x)
            counts = None if mask is None or counts is None else torch.logical_or(counts, mask)
            found = self._pick(found, x)
        return found


class Maximum(_Extreme):
    """The largest of a list of tensors at each place; where a mask rules one of two out, the other one.

    Raises:
        ValueError: an input that is no list of tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Maximum()([torch.tensor([[1.0, 20.0]]), torch.tensor([[10.0, 2.0]])])
        tensor([[10., 20.]])
    """

    _pick = staticmethod(torch.maximum)


class Minimum(_Extreme):
    """The smallest of a list of tensors at each place; where a mask rules one of two out, the other one.

    Raises:
        ValueError: an input that is no list of tensors, shapes that do not broadcast, or batches of different sizes.

    Example:
        >>> import torch
        >>> Minimum()([torch.tensor([[1.0, 20.0]]), torch.tensor([[10.0, 2.0]])])
        tensor([[1., 2.]])
    """

    _pick = staticmethod(torch.minimum)


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Any:
    """`Average(**kwargs)(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Any], **kwargs: Any) -> Any:
    """`Maximum(**kwargs)(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Any], **kwargs: Any) -> Any:
    """`Minimum(**kwargs)(inputs)`."""
    return Minimum(**kwargs)(inputs)


def multiply(inputs: list[Any], **kwargs: Any) -> Any:
    """`Multiply(**kwargs)(inputs)`."""
    return Multiply(**kwargs)(inputs)


def subtract(inputs: list[Any], **kwargs: Any) -> Any:
    """`Subtract(**kwargs)(inputs)`."""
    return Subtract(**kwargs)(inputs)
