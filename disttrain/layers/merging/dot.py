"""Products of two tensors, summed over an axis of each."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.merging.merge import check_list
from disttrain.layers.symbolic import Shape

_EPSILON = 1e-7  # Keras's fuzz factor: a vector of norm 0 stays 0


class Dot(Layer):
    """For each sample the products of two tensors, summed over one axis of each.

    Args:
        axes: the axis of both tensors, or (that of the first, that of the second), the batch counted; negative from the end. Not 0.
        normalize: give the vectors along the axes length 1 first, so that the result is the cosine of their angle.

    Input shape: a list of two. Output shape: that of the first without its axis, then that of the second without the batch and its
    axis; `(batch, 1)` where nothing else is left. The output has no mask.

    Raises:
        ValueError: `axes` that name the batch, or are more than two; an input that is no list of two tensors, or sizes that differ along
            `axes`.

    Example:
        >>> import torch
        >>> Dot(axes=(1, 2))([torch.zeros(7, 20, 5), torch.zeros(7, 30, 20)]).shape
        torch.Size([7, 5, 30])
    """

    _output_keeps_dtype = True
    _starts_mask = False

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = tuple(axes) if isinstance(axes, list | tuple) else (axes, axes)
        if len(given) != 2 or not all(isinstance(axis, int) and not isinstance(axis, bool) and axis != 0 for axis in given):
            raise ValueError(f"Dot(axes={axes!r}): expected an integer or two, not 0, which is the batch.")
        self.axes: Any = given if isinstance(axes, list | tuple) else axes
        self.normalize = bool(normalize)

    def build(self, input_shape: list[Shape]) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        if isinstance(inputs, Tensor) or not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(f"{self._described()}: expected a list of two tensors.")
        first, second = inputs
        axis_1, axis_2 = self._two_axes(first.ndim, second.ndim)
        if self.normalize:
            first, second = _unit(first, axis_1), _unit(second, axis_2)
        left, right = first.movedim(axis_1, -1), second.movedim(axis_2, 1)  # (batch, ..., n) and (batch, n, ...)
        result = left.reshape(left.shape[0], -1, left.shape[-1]) @ right.reshape(right.shape[0], right.shape[1], -1)
        rest = [*left.shape[1:-1], *right.shape[2:]] or [1]
        return result.reshape(result.shape[0], *rest)

    def compute_mask(self, inputs: list[Tensor], previous_mask: Any = None) -> None:
        """The output has none."""

    def _two_axes(self, rank_1: int, rank_2: int) -> tuple[int, int]:
        first, second = self.axes if isinstance(self.axes, tuple) else (self.axes, self.axes)
        for axis, rank in ((first, rank_1), (second, rank_2)):
            if not -rank < axis < rank:
                raise ValueError(
                    f"{self._described()}: axes={self.axes} do not exist, or are the batch, in tensors of {rank_1} and {rank_2} axes."
                )
        return first % rank_1, second % rank_2

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        check_list(self, input_shape)
        if len(input_shape) != 2 or min(len(shape) for shape in input_shape) < 2:
            raise ValueError(f"{self._described()}: expected a list of two tensors of 2 axes or more, got shapes {list(input_shape)}.")
        (batch, *first), (batch_2, *second) = input_shape
        axis_1, axis_2 = self._two_axes(len(input_shape[0]), len(input_shape[1]))
        sizes = {first.pop(axis_1 - 1), second.pop(axis_2 - 1)} - {None}
        if len(sizes) > 1 or len({batch, batch_2} - {None}) > 1:
            raise ValueError(f"{self._described()}: shapes {list(input_shape)} have other sizes in axes={self.axes}, or other batches.")
        return (batch, *([*first, *second] or [1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def _unit(x: Tensor, axis: int) -> Tensor:
    """`x / max(|x|, epsilon)` along `axis`; the bound inside the root, so that the gradient of a vector of zeros is no NaN."""
    return x * x.square().sum(axis, keepdim=True).clamp(min=_EPSILON**2).rsqrt()


def dot(inputs: list[Any], axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes, **kwargs)(inputs)
