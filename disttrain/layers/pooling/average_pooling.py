"""The mean of each window."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.fixed_order import has_own_kernels, mean_of_volumes
from disttrain.layers.geometry import pad_argument, same_padding
from disttrain.layers.pooling.window_pooling import WindowPooling


class AveragePooling(WindowPooling):
    """The mean of each window; with "same" padding, of those of its elements that exist. Subclasses say over how many axes.

    Args:
        pool_size: one integer for all axes, or one for each; no default, as in Keras.
        strides: how far the window moves; None moves it by its own size.
        padding: "valid" or "same".
        data_format: "channels_last" (also None) or "channels_first".

    Output size of an axis of size n with window k and stride s: `(n - k) // s + 1` with "valid", `ceil(n / s)` with "same".
    """

    _options: ClassVar[dict[str, Any]] = {"count_include_pad": False}

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


class AveragePooling1D(AveragePooling):
    """The mean of each window of steps. Arguments: `AveragePooling`.

    Input shape: `(batch, steps, channels)`; the output has fewer steps.

    Source: LeCun et al. 1990.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> AveragePooling1D(2, padding="same")(torch.tensor([[[1.0], [3.0], [2.0]]])).flatten()
        tensor([2., 2.])
    """

    rank = 1
    _torch_pooling = staticmethod(F.avg_pool1d)


class AveragePooling2D(AveragePooling):
    """The mean of each window of an image. Arguments: `AveragePooling`.

    Input shape: `(batch, height, width, channels)`; the output has smaller height and width.

    Source: LeCun et al. 1990.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> AveragePooling2D(2)(torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])).flatten()
        tensor([2.5000])
    """

    rank = 2
    _torch_pooling = staticmethod(F.avg_pool2d)


class AveragePooling3D(AveragePooling):
    """The mean of each window of a volume. Arguments: `AveragePooling`.

    Input shape: `(batch, depth, height, width, channels)`; the output has smaller depth, height and width.

    Source: LeCun et al. 1990.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> AveragePooling3D((1, 2, 2))(torch.arange(8.0).reshape(1, 2, 2, 2, 1)).flatten()
        tensor([1.5000, 5.5000])
    """

    rank = 3

    @staticmethod
    def _torch_pooling(x: Tensor, *args: Any, **options: Any) -> Tensor:
        if not has_own_kernels(x):
            return mean_of_volumes(x, *args, **options)
        if x.dtype in (torch.bfloat16, torch.float16):  # which torch has on GPUs only
            return F.avg_pool3d(x.float(), *args, **options).to(x.dtype)
        return F.avg_pool3d(x, *args, **options)

    def _same(self, x: Tensor) -> Tensor:
        if all(size >= window for size, window in zip(x.shape[2:], self.pool_size, strict=True)):
            return super()._same(x)
        # torch refuses a volume smaller than the window, whatever the padding: add the zeros, then divide by the share that is volume.
        windows = zip(x.shape[2:], self.pool_size, self.strides, strict=True)
        border = pad_argument([same_padding(*window) for window in windows], channels_last=False)
        means = self._torch_pooling(F.pad(x, border), self.pool_size, self.strides)
        share = self._torch_pooling(F.pad(x.new_ones(1, 1, *x.shape[2:]), border), self.pool_size, self.strides)
        return means / share
