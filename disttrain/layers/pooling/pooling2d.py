"""Pooling over images: the largest or the mean of each window, or of the whole image."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.geometry import check_data_format, check_fits, check_padding, check_rank, output_size, pair, same_padding
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class _Pooling2D(Layer):
    """Windows over height and width; subclasses say what becomes of a window."""

    _output_keeps_dtype = True

    def __init__(
        self, pool_size: Any, strides: Any, padding: str, data_format: str | None, name: str | None, **kwargs: Any
    ) -> None:  # fmt: skip
        super().__init__(name=name, **kwargs)
        owner = type(self).__name__
        self.pool_size = pair(pool_size, "pool_size", owner)
        self.strides = self.pool_size if strides is None else pair(strides, "strides", owner)
        self.padding = check_padding(padding, owner)
        self.data_format = check_data_format(data_format, owner)

    def build(self, input_shape: Shape) -> None:
        check_rank(input_shape, 4, self._described(), "batch, height, width and channels")
        check_fits(self.compute_output_shape(input_shape)[1:], input_shape, self._described())

    def call(self, inputs: Tensor) -> Tensor:
        last = self.data_format == "channels_last"
        x = inputs.permute(0, 3, 1, 2) if last else inputs
        pads = [(0, 0), (0, 0)]
        if self.padding == "same":
            pads = [same_padding(*each) for each in zip(x.shape[2:], self.pool_size, self.strides, strict=True)]
        y = self._pool(x, pads)
        return y.permute(0, 2, 3, 1) if last else y

    def _pool(self, x: Tensor, pads: list[tuple[int, int]]) -> Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = self.data_format == "channels_last"
        sizes = input_shape[1:3] if last else input_shape[2:4]
        windows = zip(sizes, self.pool_size, self.strides, strict=True)
        height, width = (output_size(n, k, s, self.padding) for n, k, s in windows)
        return (input_shape[0], height, width, input_shape[3]) if last else (*input_shape[:2], height, width)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling2D):
    """The largest value of each window.

    Args:
        pool_size: one integer or a pair.
        strides: how far the window moves; None moves it by its own size.
        padding: "valid", or "same", whose padding never wins.

    Input shape: `(batch, height, width, channels)`; the output has smaller height and width.

    Example:
        >>> import torch
        >>> MaxPooling2D()(torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])).flatten()
        tensor([4.])
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def _pool(self, x: Tensor, pads: list[tuple[int, int]]) -> Tensor:
        (top, bottom), (left, right) = pads
        if top or bottom or left or right:
            x = F.pad(x, (left, right, top, bottom), value=float("-inf"))
        return F.max_pool2d(x, self.pool_size, self.strides)


class AveragePooling2D(_Pooling2D):
    """The mean of each window; with "same" padding the mean of those elements that exist.

    Arguments are those of `MaxPooling2D`, except that `pool_size` has no default, as in Keras.

    Example:
        >>> import torch
        >>> AveragePooling2D(2)(torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])).flatten()
        tensor([2.5000])
    """

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def _pool(self, x: Tensor, pads: list[tuple[int, int]]) -> Tensor:
        (top, bottom), (left, right) = pads
        if not (top or bottom or left or right):
            return F.avg_pool2d(x, self.pool_size, self.strides)
        border = (left, right, top, bottom)
        sums = F.avg_pool2d(F.pad(x, border), self.pool_size, self.strides)
        share = F.avg_pool2d(F.pad(x.new_ones(1, 1, *x.shape[2:]), border), self.pool_size, self.strides)  # of the window that is image
        return sums / share


class GlobalAveragePooling2D(Layer):
    """The mean over height and width.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`, or with `keepdims` `(batch, 1, 1, channels)`.
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format(data_format, "GlobalAveragePooling2D")
        self.keepdims = keepdims

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.mean((1, 2) if self.data_format == "channels_last" else (2, 3), keepdim=self.keepdims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, 4, self._described(), "batch, height, width and channels")
        last = self.data_format == "channels_last"
        channels = input_shape[3 if last else 1]
        if not self.keepdims:
            return (input_shape[0], channels)
        return (input_shape[0], 1, 1, channels) if last else (input_shape[0], channels, 1, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}
