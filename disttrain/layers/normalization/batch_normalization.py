"""Batch normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import initializers
from disttrain.errors import UsageError
from disttrain.initializers import Constant
from disttrain.layers.context import innermost
from disttrain.layers.normalization.affine import AffineNormalization, known_sizes, places_of, wide
from disttrain.layers.symbolic import Shape

_FUZZ = 1e-7  # Keras's epsilon(): a batch with every step masked has mean and variance 0
_HALVES = (torch.bfloat16, torch.float16)


class BatchNormalization(AffineNormalization):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each channel over the batch (Ioffe & Szegedy 2015).

    When training, mean and biased variance are those of the batch, or of the slice that a virtual worker computes, and the moving
    statistics follow: `moving = moving * momentum + batch * (1 - momentum)`. When inferring, and when frozen
    (`trainable = False`, or torch's `eval()` of this layer alone), the moving statistics take their place. Steps that the mask leaves
    out do not count in the statistics.

    Args:
        axis: the axis of the channels.
        momentum: of the moving statistics, 0 to 1; near 1 is slow. (torch writes 1 minus this.)
        epsilon: added to the variance.
        center, scale: learn `beta`, learn `gamma`.
        renorm: also correct what is normalized by the batch towards slow statistics of their own (Ioffe 2017).
        renorm_clipping: bounds of the correction, `rmax`, `rmin` and `dmax`.
        renorm_momentum: of the slow statistics.
        synchronized: the statistics are those of the whole batch. So they are with one virtual worker; with several, training is refused.

    Call arguments: `mask`, with the shape of the inputs but for the last axis, True where a step counts.
    Weights: `gamma (channels,)`, ones; `beta (channels,)`, zeros; buffers `moving_mean`, zeros, and `moving_variance`, ones. Under
    mixed precision they stay float32, and so do the statistics.

    Raises:
        ValueError: an `axis` that is the batch, a `momentum` outside of 0 to 1, an `epsilon` below 0, `renorm_clipping` that contradicts
            itself; an input without that axis or with an unknown size there; a mask that does not fit.
        UsageError: `synchronized=True` in a training that cuts its batches into slices.

    Example:
        >>> import torch
        >>> layer = BatchNormalization()
        >>> layer(torch.tensor([[1.0], [3.0]]), training=True).detach().round(decimals=3).tolist()
        [[-1.0], [1.0]]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta=(beta_initializer, beta_regularizer, beta_constraint),
            gamma=(gamma_initializer, gamma_regularizer, gamma_constraint),
            **kwargs,
        )
        axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ValueError(f"BatchNormalization(axis={axis!r}): expected the axis of the channels, an integer other than 0.")
        if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum <= 1:
            raise ValueError(f"BatchNormalization(momentum={momentum!r}): expected a number from 0 to 1.")
        self.axis, self.momentum, self.synchronized = axis, float(momentum), bool(synchronized)
        self.renorm, self.renorm_momentum = bool(renorm), float(renorm_momentum)
        self.renorm_clipping = checked_clipping(renorm_clipping or {}) if renorm else renorm_clipping
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Shape) -> None:
        places = places_of(self.axis, input_shape, self._described())
        if places == [0]:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}, whose axis {self.axis} is that of the batch.")
        shape = known_sizes(places, input_shape, self._described())
        self._add_affine(shape, scale=self.scale, center=self.center)
        self.moving_mean = self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.moving_variance = self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)
        if self.renorm:
            stddev = self.moving_variance.detach().sqrt()
            self.moving_stddev = self.add_weight("moving_stddev", shape, Constant(stddev), trainable=False)
            self.renorm_mean = self.add_weight("renorm_mean", shape, Constant(self.moving_mean.detach()), trainable=False)
            self.renorm_stddev = self.add_weight("renorm_stddev", shape, Constant(stddev), trainable=False)
        self._last = places == [len(input_shape) - 1]

    def call(self, inputs: Tensor, training: bool = False, mask: Tensor | None = None) -> Tensor:
        learns = training and self._trainable and self.training  # the last is False after eval(), torch's way to freeze one
        if learns and self.synchronized:
            self._refuse_slices()
        if learns and (self.renorm or mask is not None or inputs.numel() == inputs.shape[self.axis]):
            return self._normalized_in_steps(inputs, mask)
        # torch's place for channels is the second; a view there and back, so nothing is moved in memory.
        rank = inputs.ndim
        if rank == 2:
            return self._normalized(inputs, learns)
        if rank == 4 and self._last:
            return self._normalized(inputs.permute(0, 3, 1, 2), learns).permute(0, 2, 3, 1)
        if rank == 3 and self._last:  # as an image of height 1: for steps torch has no kernel with channels last
            return self._normalized(inputs.unsqueeze(1).permute(0, 3, 1, 2), learns).permute(0, 2, 3, 1).squeeze(1)
        return self._normalized(inputs.movedim(self.axis, 1), learns).movedim(1, self.axis)

    def _normalized(self, x: Tensor, learns: bool) -> Tensor:
        """`x`, with channels second, by the statistics of the batch or by the moving ones."""
        gamma, beta, mean, variance = self.gamma, self.beta, self.moving_mean, self.moving_variance
        dtype = x.dtype
        if dtype is mean.dtype and dtype not in _HALVES:
            return self._by_torch(x, gamma, beta, mean, variance, learns)
        dtype = wide(dtype, mean)
        if x.dtype not in _HALVES or dtype is not torch.float32:  # halves beside float32 weights are what torch takes
            x = x.to(dtype)
        gamma, beta = (None if weight is None else weight.to(dtype) for weight in (gamma, beta))
        wider = mean.to(dtype), variance.to(dtype)
        y = self._by_torch(x, gamma, beta, *wider, learns)
        if learns and wider[0] is not mean:
            mean.copy_(wider[0])
            variance.copy_(wider[1])
        return y.to(self._compute_dtype)

    def _by_torch(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None, mean: Tensor, variance: Tensor, learns: bool) -> Tensor:
        """As torch does it, which follows the unbiased variance: taking the moving one for unbiased meanwhile makes that right."""
        if not learns:
            return torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, self.epsilon, True)
        count = x.numel() // x.shape[1]
        same = variance.data  # the backward pass of an earlier call keeps the moving variance, though it has no use for it
        same.mul_(count / (count - 1))
        y = torch.batch_norm(x, gamma, beta, mean, variance, True, 1.0 - self.momentum, self.epsilon, True)
        same.mul_((count - 1) / count)
        return y

    def _normalized_in_steps(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """All of the inputs by the statistics of the steps that count; also one value for each channel, which gives beta exactly."""
        dtype = wide(inputs.dtype, self.moving_mean)
        x, channel = inputs.to(dtype), self.axis % inputs.ndim
        others = [axis for axis in range(x.ndim) if axis != channel]
        if mask is None:
            variance, mean = torch.var_mean(x, others, correction=0, keepdim=True)
        else:
            mean, variance = self._moments_where(x, mask, others)
        shape = [-1 if axis == channel else 1 for axis in range(x.ndim)]
        factor = torch.rsqrt(variance + self.epsilon)
        if self.renorm:
            return self._renormalized((x - mean) * factor, mean, variance, shape)
        self._follow(mean.detach().flatten(), variance.detach().flatten())
        y = (x - mean) * (factor if self.gamma is None else factor * self.gamma.to(dtype).view(shape))
        return (y if self.beta is None else y + self.beta.to(dtype).view(shape)).to(self._compute_dtype)

    def _renormalized(self, y: Tensor, mean: Tensor, variance: Tensor, shape: list[int]) -> Tensor:
        """`(y * r + d) * gamma + beta` for inputs that are normalized by the batch; r and d lead from its statistics to the slow ones."""
        dtype = y.dtype
        mean, stddev = mean.detach().flatten(), (variance.detach().flatten() + self.epsilon).sqrt()
        slow = self.renorm_stddev.to(dtype).clamp(min=self.epsilon**0.5)
        bounds = self.renorm_clipping
        r, d = stddev / slow, (mean - self.renorm_mean.to(dtype)) / slow
        if bounds.get("rmin") is not None or bounds.get("rmax") is not None:
            r = r.clamp(bounds.get("rmin"), bounds.get("rmax"))
        if bounds.get("dmax") is not None:
            d = d.clamp(-bounds["dmax"], bounds["dmax"])
        y = y * r.view(shape) + d.view(shape)
        y = y if self.gamma is None else y * self.gamma.to(dtype).view(shape)
        y = y if self.beta is None else y + self.beta.to(dtype).view(shape)
        with torch.no_grad():
            for state, value, momentum in (
                (self.renorm_mean, mean, self.renorm_momentum),
                (self.renorm_stddev, stddev, self.renorm_momentum),
                (self.moving_mean, mean, self.momentum),
                (self.moving_stddev, stddev, self.momentum),
            ):
                state.lerp_(value.to(state.dtype), 1.0 - momentum)
            self.moving_variance.copy_((self.moving_stddev.square() - self.epsilon).clamp(min=0.0))
        return y.to(self._compute_dtype)

    def _refuse_slices(self) -> None:
        context = innermost()
        if context is not None and context.slice_fraction != 1.0:
            raise UsageError(
                f"{self._described()}: synchronized=True asks for the statistics of the whole batch, which is trained in slices here.\n"
                "  expected  synchronized=False, the statistics of a slice; or one virtual worker\n"
                "  try       GroupNormalization or LayerNormalization, which do not depend on the batch"
            )

    def _moments_where(self, x: Tensor, mask: Tensor, others: list[int]) -> tuple[Tensor, Tensor]:
        """(mean, biased variance) over these axes, of the steps that count."""
        if mask.ndim != x.ndim - 1:
            raise ValueError(
                f"{self._described()}: got a mask of shape {tuple(mask.shape)} for inputs of shape {tuple(x.shape)};"
                " expected that shape without its last axis."
            )
        counts = mask.to(torch.bool).unsqueeze(-1).expand_as(x)
        total = counts.sum(others, keepdim=True).to(x.dtype) + _FUZZ
        mean = torch.where(counts, x, 0.0).sum(others, keepdim=True) / total
        return mean, torch.where(counts, x - mean, 0.0).square().sum(others, keepdim=True) / total

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the moving statistics towards these."""
        dtype = self.moving_mean.dtype
        self.moving_mean.lerp_(mean.to(dtype), 1.0 - self.momentum)
        self.moving_variance.lerp_(variance.to(dtype), 1.0 - self.momentum)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "synchronized": self.synchronized,
            "renorm": self.renorm,
            "renorm_clipping": self.renorm_clipping,
            "renorm_momentum": self.renorm_momentum,
        }


def checked_clipping(bounds: dict[str, float]) -> dict[str, float]:
    """The bounds of batch renormalization.

    Raises:
        ValueError: a name that is none of them, or bounds that leave nothing.
    """
    keys = ["rmax", "rmin", "dmax"]
    if set(bounds) - set(keys):
        raise ValueError(f"Received invalid keys for `renorm_clipping` argument: {bounds}. Supported values: {keys}.")
    rmax, rmin, dmax = (bounds.get(key) for key in keys)
    if rmax is not None and rmin is not None and rmax < rmin:
        raise ValueError(f"rmax should be greater than rmin in the `renorm_clipping` argument. Received: rmax={rmax}, rmin={rmin}.")
    if dmax is not None and dmax < 0:
        raise ValueError(f"dmax should be non-negative in the `renorm_clipping` argument. Received: dmax={dmax}.")
    return dict(bounds)
