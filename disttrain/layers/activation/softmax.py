"""Softmax as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.activation.pointwise import Pointwise


class Softmax(Pointwise):
    """`exp(x) / sum(exp(x))` along `axis`, one or several.

    The call takes a `mask` too, of the input's shape or one that broadcasts to it: where it is False the result is 0.

    Source: Bridle 1990.

    Raises:
        ValueError: an `axis` that is none; a mask that does not broadcast to the input.

    Example:
        >>> Softmax()(torch.tensor([1.0, 7.0, 1.0]), mask=torch.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        axes = [axis] if isinstance(axis, int) else axis
        if isinstance(axis, bool) or not isinstance(axes, list | tuple) or not axes or not all(isinstance(item, int) for item in axes):
            raise ValueError(f"Softmax(axis={axis!r}): expected an axis, or several.")
        self.axis: int | list[int] = axis if isinstance(axis, int) else list(axes)
        self._axis: int | list[int] = axes[0] if len(axes) == 1 else list(axes)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return activations.softmax(inputs, self._axis)
        pairs = zip(reversed(mask.shape), reversed(inputs.shape), strict=False)
        if mask.ndim > inputs.ndim or any(one not in (1, other) for one, other in pairs):
            wrong = "must not have more dimensions than the input" if mask.ndim > inputs.ndim else "must be broadcastable to the input"
            raise ValueError(f"{self._described()}: the mask has shape {tuple(mask.shape)}, the input {tuple(inputs.shape)}; it {wrong}.")
        kept = mask if mask.dtype is torch.bool else mask > 0.5
        hidden = -3e4 if inputs.dtype is torch.float16 else -1e9
        # Where a whole axis is hidden, the softmax is uniform, not 0.
        return torch.where(kept, activations.softmax(torch.where(kept, inputs, hidden), self._axis), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
