"""The largest value of each window."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from disttrain.layers.pooling.window_pooling import WindowPooling


class MaxPooling(WindowPooling):
    """The largest value of each window; subclasses say over how many axes.

    Args:
        pool_size: one integer for all axes, or one for each.
        strides: how far the window moves; None moves it by its own size.
        padding: "valid", or "same", whose padding never wins.
        data_format: "channels_last" (also None) or "channels_first".

    Output size of an axis of size n with window k and stride s: `(n - k) // s + 1` with "valid", `ceil(n / s)` with "same".
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling1D(MaxPooling):
    """The largest value of each window of steps. Arguments: `MaxPooling`.

    Input shape: `(batch, steps, channels)`; the output has fewer steps.

    Source: Yamaguchi et al. 1990.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> MaxPooling1D(2, strides=1)(torch.tensor([[[1.0], [3.0], [2.0]]])).flatten()
        tensor([3., 3.])
    """

    rank = 1
    _torch_pooling = staticmethod(F.max_pool1d)


class MaxPooling2D(MaxPooling):
    """The largest value of each window of an image. Arguments: `MaxPooling`.

    Input shape: `(batch, height, width, channels)`; the output has smaller height and width.

    Source: Weng, Ahuja & Huang 1992.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> MaxPooling2D()(torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])).flatten()
        tensor([4.])
    """

    rank = 2
    _torch_pooling = staticmethod(F.max_pool2d)


class MaxPooling3D(MaxPooling):
    """The largest value of each window of a volume. Arguments: `MaxPooling`.

    Input shape: `(batch, depth, height, width, channels)`; the output has smaller depth, height and width.

    Source: Weng, Ahuja & Huang 1992.

    Raises:
        ValueError: a size below 1, an unknown `padding` or `data_format`; an input with another number of axes, or too small for the
            window.

    Example:
        >>> import torch
        >>> MaxPooling3D((1, 2, 2))(torch.arange(8.0).reshape(1, 2, 2, 2, 1)).flatten()
        tensor([3., 7.])
    """

    rank = 3
    _torch_pooling = staticmethod(F.max_pool3d)
