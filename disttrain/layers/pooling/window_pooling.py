"""What pooling over windows has in common, whatever becomes of a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from disttrain.layers.geometry import (
    AXES,
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    channels,
    check_data_format,
    check_fits,
    check_padding,
    check_rank,
    output_size,
    same_padding,
    shape_of,
    sizes,
    spatial,
)
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class WindowPooling(Layer):
    """Windows over `rank` axes; subclasses say what becomes of one.

    With channels last torch sees the input through a view in its own order of axes. "same" padding copies nothing either: torch pads
    both sides of an axis alike, so where one more is due after, either the last window may reach over the edge (`ceil_mode`), or with
    stride 1 one more is padded before as well, and the window that this adds is dropped.
    """

    rank: int
    _output_keeps_dtype = True
    _needs_no_build = True
    _torch_pooling: Callable[..., Tensor]
    _options: ClassVar[dict[str, Any]] = {}  # of `_torch_pooling` with "same" padding

    def __init__(
        self, pool_size: Any, strides: Any, padding: str, data_format: str | None, name: str | None, **kwargs: Any
    ) -> None:  # fmt: skip
        super().__init__(name=name, **kwargs)
        owner = type(self).__name__
        self.pool_size = sizes(pool_size, self.rank, "pool_size", owner)
        self.strides = self.pool_size if strides is None else sizes(strides, self.rank, "strides", owner)
        self.padding = check_padding(padding, owner)
        self.data_format = check_data_format(data_format, owner)
        self._last = self.data_format == "channels_last"

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != self.rank + 2:
            check_rank(inputs.shape, self.rank + 2, self._described(), AXES[self.rank])
        x = inputs.permute(TO_CHANNELS_FIRST[self.rank]) if self._last else inputs
        try:
            y = self._torch_pooling(x, self.pool_size, self.strides) if self.padding == "valid" else self._same(x)
        except RuntimeError:
            self.compute_output_shape(tuple(inputs.shape))  # says in words of ours if the window does not fit
            raise
        return y.permute(TO_CHANNELS_LAST[self.rank]) if self._last else y

    def _same(self, x: Tensor) -> Tensor:
        padding, dropped = [], []
        for size, window, stride in zip(x.shape[2:], self.pool_size, self.strides, strict=True):
            before, after = same_padding(size, window, stride)
            drop = stride == 1 and after > before
            padding.append(after if drop else before)
            dropped.append(drop)
        y = self._torch_pooling(x, self.pool_size, self.strides, padding, ceil_mode=True, **self._options)
        for axis, drop in enumerate(dropped, start=2):
            if drop:
                y = y.narrow(axis, 1, y.shape[axis] - 1)
        return y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        windows = zip(spatial(input_shape, self.data_format), self.pool_size, self.strides, strict=True)
        found = [output_size(size, window, stride, self.padding) for size, window, stride in windows]
        check_fits(found, input_shape, self._described())
        return shape_of(input_shape[0], found, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }
