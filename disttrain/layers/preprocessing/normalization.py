"""Features of mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.batches import batches
from disttrain.layers.symbolic import Shape

_EPSILON = 1e-7  # Keras's fuzz factor, the least deviation that is divided by


class Normalization(Layer):
    """`(x - mean) / sqrt(variance)` with the mean and variance of data that `adapt` has seen, or of the arguments.

    Args:
        axis: the axes that have a mean and a variance for each index; None: one mean and one variance for everything.
        mean, variance: what `adapt` would find: numbers, or arrays that fit the sizes of `axis`; both or none.
        invert: give `x * sqrt(variance) + mean`.

    Input and output shape: any, the same.
    Weights without `mean`: `mean`, `variance` and `count`, of which the last is there for files only; none is trained.

    Raises:
        ValueError: only one of `mean` and `variance`, or shapes of them that do not fit `axis`; `adapt` of a layer that has them, or with
            data of another shape; an input without those axes.

    Example:
        >>> import numpy as np
        >>> layer = Normalization()
        >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
        >>> layer(np.array([[0.0, 10.0]]))
        tensor([[-1.,  2.]])
    """

    supports_masking = True

    def __init__(
        self, axis: int | Sequence[int] | None = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis: tuple[int, ...] = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean, self.input_variance, self.invert = _listed(mean, "mean"), _listed(variance, "variance"), bool(invert)
        if not all(isinstance(a, int) and not isinstance(a, bool) for a in self.axis):
            raise ValueError(f"Normalization(axis={axis!r}): expected an integer, several, or None.")
        if (mean is None) != (variance is None):
            raise ValueError(f"Normalization(mean={mean!r}, variance={variance!r}): expected both or none.")
        shape = np.shape(self.input_mean)
        if mean is not None and shape != np.shape(self.input_variance):
            raise ValueError(f"Normalization: mean has shape {shape} and variance {np.shape(self.input_variance)}, expected the same.")
        if mean is not None and len(shape) > len(self.axis):
            raise ValueError(f"Normalization(mean={mean!r}): expected at most {len(self.axis)} axes, as many as axis={self.axis} names.")

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ValueError(f"{self._described()}: axis={self.axis} is not in an input of shape {tuple(input_shape)}.")
        self._kept = tuple(sorted(axis % rank for axis in self.axis))
        self._rank = rank
        sizes = tuple(input_shape[axis] for axis in self._kept)
        if self.input_mean is not None:
            given = np.shape(self.input_mean)
            fits = zip(given[::-1], sizes[::-1], strict=False)
            if any(own != 1 and size is not None and own != size for own, size in fits):
                raise ValueError(f"{self._described()}: mean of shape {given} does not fit {sizes}, the sizes of axis={self.axis}.")
            return
        if None in sizes:
            raise ValueError(f"{self._described()}: axis={self.axis} of an input of shape {tuple(input_shape)} has no known size.")
        self.adapt_mean = self.add_weight("mean", sizes, "zeros", trainable=False)
        self.adapt_variance = self.add_weight("variance", sizes, "ones", trainable=False)
        self.count = self.add_weight("count", (), "zeros", trainable=False, dtype="int32")

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of `data`, computed in float64.

        Args:
            data: an array, a tensor, or an iterable of batches, each of them (x, y, ...) or x; a DataLoader or a PyDataset will do.

        Raises:
            ValueError: the layer was given `mean` and `variance`; no data; a batch whose kept axes have other sizes.
        """
        if self.input_mean is not None:
            raise ValueError(f"{self._described()}.adapt: the layer was made with mean and variance.")
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in batches(data, self._described()):
            if not self.built:
                keeps_batch = any(axis % batch.ndim == 0 for axis in self.axis if -batch.ndim <= axis < batch.ndim)
                self.build(tuple(batch.shape) if keeps_batch else (None, *batch.shape[1:]))
            sizes = tuple(batch.shape[axis] for axis in self._kept if axis < batch.ndim)
            if batch.ndim != self._rank or sizes != tuple(self.adapt_mean.shape):
                raise ValueError(
                    f"{self._described()}.adapt: got data of shape {tuple(batch.shape)}, expected {self._rank} axes with sizes "
                    f"{tuple(self.adapt_mean.shape)} at {self._kept}."
                )
            reduced = tuple(axis for axis in range(self._rank) if axis not in self._kept)
            x = batch.to("cpu", torch.float64)
            here = x.numel() // max(self.adapt_mean.numel(), 1)
            if not here:
                continue
            own = x.mean(reduced) if reduced else x
            # Chan, Golub, LeVeque 1979, eq. 2.1: means and sums of squared deviations of two sets give those of both.
            difference, total = own - mean, count + here
            squares = squares + here * (x.var(reduced, correction=0) if reduced else 0.0) + difference.square() * (count * here / total)
            mean, count = mean + difference * (here / total), total
        if not count:
            raise ValueError(f"{self._described()}.adapt: got no number at all.")
        with torch.no_grad():
            self.adapt_mean.copy_(mean)
            self.adapt_variance.copy_(squares / count)

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs.to(self._compute_dtype)
        mean = self._beside(self.input_mean, x) if self.input_mean is not None else self._beside(self.adapt_mean, x)
        variance = self._beside(self.input_variance, x) if self.input_mean is not None else self._beside(self.adapt_variance, x)
        deviation = variance.sqrt().clamp_min(_EPSILON)
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def _beside(self, value: Any, x: Tensor) -> Tensor:
        """`value`, whose last axes are the last of those in `axis`, so that it goes with `x`."""
        tensor = value.to(x.dtype) if isinstance(value, Tensor) else on_device(value, x.device, x.dtype)
        shape = [1] * x.ndim
        for size, axis in zip(reversed(tensor.shape), reversed(self._kept), strict=False):
            shape[axis] = size
        return tensor.reshape(shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"axis": self.axis, "invert": self.invert, "mean": self.input_mean, "variance": self.input_variance}
        return {**super().get_config(), **own}


def _listed(value: Any, argument: str) -> Any:
    """`value` as Python numbers: one, or nested lists of them."""
    if value is None:
        return None
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"Normalization({argument}={value!r}): expected a number, or an array of them.")
    return array.tolist()
