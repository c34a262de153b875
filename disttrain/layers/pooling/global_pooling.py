"""One number for each channel: the largest, or the mean, over all steps of a sequence, positions of an image or of a volume."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import AXES, channels, check_data_format, check_rank, shape_of
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class GlobalPooling(Layer):
    """One number for each channel; subclasses say which, and over how many axes.

    Args:
        data_format: "channels_last" (also None) or "channels_first".
        keepdims: keep the axes that are gone with size 1.
    """

    rank: int
    _needs_no_build = True

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format(data_format, type(self).__name__)
        self.keepdims = bool(keepdims)
        first = 1 if self.data_format == "channels_last" else 2
        self._axes = tuple(range(first, first + self.rank))

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2:
            check_rank(inputs.shape, self.rank + 2, self._described(), AXES[self.rank])
        return self._pool(inputs)

    def _pool(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        kept = [1] * self.rank if self.keepdims else []
        return shape_of(input_shape[0], kept, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalMaxPooling(GlobalPooling):
    """The largest value of each channel; equal ones share the gradient, as in TensorFlow and JAX."""

    _output_keeps_dtype = True

    def _pool(self, inputs: Tensor) -> Tensor:
        return inputs.amax(self._axes, keepdim=self.keepdims)


class GlobalAveragePooling(GlobalPooling):
    """The mean of each channel."""

    def _pool(self, inputs: Tensor) -> Tensor:
        if not inputs.is_floating_point():
            inputs = inputs.to(self._compute_dtype)
        return inputs.mean(self._axes, keepdim=self.keepdims)


class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest value of each channel over all steps. Arguments: `GlobalPooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, channels)`, or with `keepdims` `(batch, 1, channels)`.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> GlobalMaxPooling1D()(torch.tensor([[[1.0, 5.0], [3.0, 4.0]]]))
        tensor([[3., 5.]])
    """

    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest value of each channel over height and width. Arguments: `GlobalPooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`, or with `keepdims` `(batch, 1, 1, channels)`.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes.
    """

    rank = 2


class GlobalMaxPooling3D(GlobalMaxPooling):
    """The largest value of each channel over depth, height and width. Arguments: `GlobalPooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, channels)`, or with `keepdims`
    `(batch, 1, 1, 1, channels)`.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes.
    """

    rank = 3


class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of each channel over all steps, or over those that a mask lets count. Arguments: `GlobalPooling`.

    A sample whose mask lets no step count has no mean: the result is NaN, as in Keras.

    Input shape: `(batch, steps, channels)`; the mask `(batch, steps)`. Output shape: `(batch, channels)`, or with `keepdims`
    `(batch, 1, channels)`.

    Source: Lin, Chen & Yan 2014.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes, or a mask that is not `(batch, steps)`.

    Example:
        >>> import torch
        >>> GlobalAveragePooling1D()(torch.tensor([[[1.0], [3.0], [8.0]]]), mask=torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """

    rank = 1
    _starts_mask = False

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        """The steps are gone, and the mask with them."""

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        check_rank(inputs.shape, 3, self._described(), AXES[1])
        expected = (inputs.shape[0], inputs.shape[self._axes[0]])
        if mask.shape != expected:
            raise ValueError(f"{self._described()}: the mask has shape {tuple(mask.shape)}, expected (batch, steps), here {expected}.")
        counts = mask.bool().unsqueeze(3 - self._axes[0])
        total = inputs.where(counts, 0).sum(self._axes, keepdim=self.keepdims)
        return total / counts.to(inputs.dtype).sum(self._axes, keepdim=self.keepdims)


class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of each channel over height and width. Arguments: `GlobalPooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`, or with `keepdims` `(batch, 1, 1, channels)`.

    Source: Lin, Chen & Yan 2014.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes.
    """

    rank = 2


class GlobalAveragePooling3D(GlobalAveragePooling):
    """The mean of each channel over depth, height and width. Arguments: `GlobalPooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, channels)`, or with `keepdims`
    `(batch, 1, 1, 1, channels)`.

    Source: Lin, Chen & Yan 2014.

    Raises:
        ValueError: an unknown `data_format`; an input with another number of axes.
    """

    rank = 3
