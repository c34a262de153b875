"""Dropout of whole channels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import AXES, channels, check_data_format, check_rank, shape_of
from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import check_rate, dropout_mask
from disttrain.layers.symbolic import Shape


class SpatialDropout(Layer):
    """When training, zero a share `rate` of the channels of each sample, all positions of one together (Tompson et al. 2014).

    Args:
        rate: share of the channels, from 0 to 1; what is left is scaled by `1 / (1 - rate)`.
        data_format: "channels_last" (also None) or "channels_first".
        seed: sets this layer's masks apart from those of a layer with another seed.
    """

    rank: int
    supports_masking = True
    _needs_no_build = True

    def __init__(self, rate: float, data_format: str | None, seed: int | None, name: str | None, dtype: Any, **kwargs: Any) -> None:
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.rate, self.seed = check_rate(rate, type(self).__name__), seed
        self.data_format = check_data_format(data_format, type(self).__name__)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        check_rank(inputs.shape, self.rank + 2, self._described(), AXES[self.rank])
        if not training or self.rate == 0:
            return inputs
        shape = shape_of(None, [1] * self.rank, channels(inputs.shape, self.data_format), self.data_format)
        return inputs * dropout_mask(self, inputs, self.rate, shape, self.seed)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(input_shape, self.rank + 2, self._described(), AXES[self.rank])
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "rate": self.rate, "seed": self.seed, "data_format": self.data_format}
        if self.trainable:
            del config["trainable"]  # Keras's constructor does not take it
        return config


class SpatialDropout1D(SpatialDropout):
    """Dropout of whole channels of a sequence. Arguments: `SpatialDropout`; channels are last.

    Input and output shape: `(batch, steps, channels)`.

    Source: Tompson et al. 2015.

    Raises:
        ValueError: a `rate` outside of 0 to 1; an input with another number of axes.
    """

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, None, seed, name, dtype, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


class SpatialDropout2D(SpatialDropout):
    """Dropout of whole channels of an image. Arguments: `SpatialDropout`.

    Input and output shape: `(batch, height, width, channels)`, or with "channels_first" `(batch, channels, height, width)`.

    Source: Tompson et al. 2015.

    Raises:
        ValueError: a `rate` outside of 0 to 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 2

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, data_format, seed, name, dtype, **kwargs)


class SpatialDropout3D(SpatialDropout):
    """Dropout of whole channels of a volume. Arguments: `SpatialDropout`.

    Input and output shape: `(batch, depth, height, width, channels)`, or with "channels_first" channels after the batch.

    Source: Tompson et al. 2015.

    Raises:
        ValueError: a `rate` outside of 0 to 1, or an unknown `data_format`; an input with another number of axes.
    """

    rank = 3

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, data_format, seed, name, dtype, **kwargs)
