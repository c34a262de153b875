"""More steps, pixels or voxels, between or equal to those that are there."""

from __future__ import annotations

import difflib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.fixed_order import has_own_kernels, interpolated
from disttrain.layers.geometry import AXES, channels, check_data_format, check_rank, integer, shape_of, sizes, spatial
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape

_INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
_MISSING = ("lanczos3", "lanczos5")


class UpSampling(Layer):
    """Repeats each value along axes; subclasses say along how many.

    Args:
        size: how often: one integer for all axes, or one for each.
        data_format: "channels_last" (also None) or "channels_first".
    """

    rank: int
    _output_keeps_dtype = True
    _factors: tuple[int, ...]

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factors = sizes(size, self.rank, "size", type(self).__name__)
        self.size: Any = self._factors
        self.data_format = check_data_format(data_format, type(self).__name__)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        shape: Any = self.compute_output_shape(tuple(inputs.shape))
        first = 1 if self.data_format == "channels_last" else 2
        spread: list[int] = []  # (batch, height, width, channels) is seen as (batch, height, factor, width, factor, channels)
        for axis, size in enumerate(inputs.shape):
            repeated = first <= axis < first + self.rank
            spread += [size, self._factors[axis - first]] if repeated else [size]
        for number in range(self.rank):
            inputs = inputs.unsqueeze(first + 2 * number + 1)
        return inputs.expand(spread).reshape(shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        known = zip(spatial(input_shape, self.data_format), self._factors, strict=True)
        larger = [None if size is None else size * factor for size, factor in known]
        return shape_of(input_shape[0], larger, channels(input_shape, self.data_format), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


class UpSampling1D(UpSampling):
    """Each step several times.

    Args:
        size: how often, 1 or more.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, steps * size, channels)`.

    Raises:
        ValueError: a `size` below 1, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> UpSampling1D(2)(torch.tensor([[[1.0], [2.0]]])).flatten()
        tensor([1., 1., 2., 2.])
    """

    rank = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(integer(size, "size", "UpSampling1D", meaning="it should be a positive integer"), **kwargs)
        self.size = self._factors[0]

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "data_format"}


class UpSampling2D(UpSampling):
    """A larger image.

    Args:
        size: how many times as large: one integer, or `(height, width)`.
        data_format: "channels_last" (also None) or "channels_first".
        interpolation: "nearest" repeats pixels; "bilinear" and "bicubic" draw lines and cubic curves between the centres of pixels. Bicubic
            is that of TensorFlow and JAX (Keys 1981, a = -0.5; where pixels are missing at the edge, the others weigh more), as with
            Pillow and torch's `antialias=True`, not torch's own a = -0.75.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, height * size[0], width * size[1], channels)`.

    Raises:
        ValueError: a `size` below 1, an unknown `interpolation` or `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> UpSampling2D((1, 2), interpolation="bilinear")(torch.tensor([[[[0.0], [4.0]]]])).flatten()
        tensor([0., 1., 3., 4.])
    """

    rank = 2

    def __init__(self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)
        self.interpolation = interpolation.lower() if isinstance(interpolation, str) else interpolation
        if self.interpolation in _MISSING:
            raise ValueError(f"UpSampling2D(interpolation={interpolation!r}) is not supported: torch has no Lanczos kernel. Use 'bicubic'.")
        if self.interpolation not in _INTERPOLATIONS:
            nearest = difflib.get_close_matches(str(interpolation), _INTERPOLATIONS, n=3, cutoff=0.0)
            raise ValueError(f"UpSampling2D(interpolation={interpolation!r}): expected one of {', '.join(nearest)}, nearest first.")

    def call(self, inputs: Tensor) -> Tensor:
        if self.interpolation == "nearest":
            return super().call(inputs)
        shape = self.compute_output_shape(tuple(inputs.shape))
        last = self.data_format == "channels_last"
        x = inputs.permute(0, 3, 1, 2) if last else inputs
        exact = x if x.dtype in (torch.float32, torch.float64) else x.float()
        size: Any = list(spatial(shape, self.data_format))
        if has_own_kernels(exact):
            smooth = self.interpolation == "bicubic"
            y = F.interpolate(exact, size, mode=self.interpolation, align_corners=False, antialias=smooth)
        else:
            y = interpolated(exact, size[0], size[1], self.interpolation)
        y = y if exact is x else self._like(y, x.dtype)
        return y.permute(0, 2, 3, 1) if last else y

    @staticmethod
    def _like(y: Tensor, dtype: torch.dtype) -> Tensor:
        """`y` as `dtype`, rounded where that is an integer."""
        return y.to(dtype) if dtype.is_floating_point else y.round().to(dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "interpolation": self.interpolation}


class UpSampling3D(UpSampling):
    """A larger volume: each value several times along each axis.

    Args:
        size: how often: one integer, or `(depth, height, width)`.
        data_format: "channels_last" (also None) or "channels_first".

    Input shape: `(batch, depth, height, width, channels)`. Output shape: the same with depth, height and width times `size`.

    Raises:
        ValueError: a `size` below 1, or an unknown `data_format`; an input with another number of axes.

    Example:
        >>> import torch
        >>> UpSampling3D((1, 2, 3))(torch.zeros(2, 3, 4, 5, 1)).shape
        torch.Size([2, 3, 8, 15, 1])
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)
