"""First values of weights, with the names, arguments and defaults of Keras 3.

Values are drawn on the CPU from a key, so they are the same whatever device the weight then moves to. An *instance* gives the same values
at every call, as in Keras: two layers that share one start out equal. A name makes a new instance each time.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.seeds import fold_in, next_key

_TRUNCATED_STDDEV = 0.87962566103423978  # of a standard normal cut off at 2; dividing by it restores a variance of 1


class Initializer:
    """A function `(shape, dtype) -> Tensor`. Subclasses define `__call__` and `get_config`."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, shape, dtype).")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The inverse of `get_config`; Keras's `input_axes` and `output_axes` may be there as None."""
        config = dict(config)
        for axes in ("input_axes", "output_axes"):
            if config.pop(axes, None) is not None:
                raise ValueError(f"{cls.__name__}({axes}=...) is not supported: leave it None.")
        return cls(**config)


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.ones(tuple(shape), dtype=dtype)


class Constant(Initializer):
    """All `value`, a number, or an array of the weight's shape."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        value = self.value.detach().cpu() if isinstance(self.value, Tensor) else torch.as_tensor(np.asarray(self.value))
        return value.to(dtype).expand(tuple(shape)).contiguous().clone()

    def get_config(self) -> dict[str, Any]:
        value = self.value.tolist() if isinstance(self.value, np.ndarray | np.generic | Tensor) else self.value
        return {"value": value}


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) != 2:
            raise ValueError(f"Identity()(shape={tuple(shape)}): expected two axes.")
        return torch.eye(*shape, dtype=dtype).mul_(self.gain)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of those that draw: the key comes from `seed`, or at construction from the process seed."""

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ValueError(f"seed={seed!r}: expected an integer or None.")
        self.seed = seed
        self._key = next_key("weight") if seed is None else fold_in(0, "initializer", seed)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self._key)

    def _normal(self, shape: Sequence[int], mean: float, stddev: float, dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=_drawn(dtype)).normal_(mean, stddev, generator=self._generator()).to(dtype)

    def _truncated(self, shape: Sequence[int], mean: float, stddev: float, dtype: torch.dtype) -> Tensor:
        values = torch.empty(tuple(shape), dtype=_drawn(dtype))
        # By the inverse of the distribution: the share of a standard normal below -2, and up to 2, and the quantile of a uniform draw.
        low = math.erf(-2.0 / math.sqrt(2.0))
        values.uniform_(low, -low, generator=self._generator()).erfinv_().mul_(math.sqrt(2.0)).clamp_(-2.0, 2.0)
        return values.mul_(stddev).add_(mean).to(dtype)

    def _uniform(self, shape: Sequence[int], low: float, high: float, dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=_drawn(dtype)).uniform_(low, high, generator=self._generator()).to(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class RandomNormal(RandomInitializer):
    """Normal with `mean` and `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._normal(shape, self.mean, self.stddev, dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class RandomUniform(RandomInitializer):
    """Uniform from `minval` to `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._uniform(shape, self.minval, self.maxval, dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class TruncatedNormal(RandomInitializer):
    """Normal with `mean` and `stddev`, cut off at two standard deviations; the variance lost by the cut is *not* made good."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._truncated(shape, self.mean, self.stddev, dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class VarianceScaling(RandomInitializer):
    """Variance `scale / n`, where n is the number of inputs, of outputs, or their mean.

    Args:
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (corrected for the cut), "untruncated_normal" or "uniform".
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: int | None = None
    ) -> None:  # fmt: skip
        super().__init__(seed)
        if scale <= 0.0:
            raise ValueError(f"VarianceScaling(scale={scale}): expected more than 0.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling(mode={mode!r}): expected 'fan_in', 'fan_out' or 'fan_avg'.")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"VarianceScaling(distribution={distribution!r}): expected 'truncated_normal', 'untruncated_normal' or 'uniform'."
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "truncated_normal":
            return self._truncated(shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV, dtype)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, 0.0, math.sqrt(variance), dtype)
        limit = math.sqrt(3.0 * variance)
        return self._uniform(shape, -limit, limit, dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "mode": self.mode, "distribution": self.distribution}


class _Preset(VarianceScaling):
    _scale, _mode, _distribution = 1.0, "fan_in", "truncated_normal"

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(self._scale, self._mode, self._distribution, seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_Preset):
    """Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010, eq. 16)."""

    _mode, _distribution = "fan_avg", "uniform"


class GlorotNormal(_Preset):
    """Truncated normal of variance `2 / (fan_in + fan_out)` (Glorot & Bengio 2010)."""

    _mode = "fan_avg"


class HeUniform(_Preset):
    """Uniform within `sqrt(6 / fan_in)` (He et al. 2015)."""

    _scale, _distribution = 2.0, "uniform"


class HeNormal(_Preset):
    """Truncated normal of variance `2 / fan_in` (He et al. 2015, eq. 10)."""

    _scale = 2.0


class LecunUniform(_Preset):
    """Uniform within `sqrt(3 / fan_in)` (LeCun et al. 1998)."""

    _distribution = "uniform"


class LecunNormal(_Preset):
    """Truncated normal of variance `1 / fan_in` (LeCun et al. 1998)."""


class Orthogonal(RandomInitializer):
    """An orthogonal matrix, times `gain` (Saxe et al. 2014); more axes are flattened to `(prod(shape[:-1]), shape[-1])`."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal()(shape={tuple(shape)}): expected two axes or more.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = torch.linalg.qr(self._normal((max(rows, columns), min(rows, columns)), 0.0, 1.0, _drawn(dtype)))
        q = q * r.diagonal().sign()  # the signs of QR are arbitrary; these make the draw uniform over orthogonal matrices
        q = q.t() if rows < columns else q
        values: Tensor = self.gain * q
        return values.reshape(tuple(shape)).to(dtype).contiguous()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


CLASSES: dict[str, type[Initializer]] = {
    "Constant": Constant,
    "GlorotNormal": GlorotNormal,
    "GlorotUniform": GlorotUniform,
    "HeNormal": HeNormal,
    "HeUniform": HeUniform,
    "Identity": Identity,
    "LecunNormal": LecunNormal,
    "LecunUniform": LecunUniform,
    "Ones": Ones,
    "Orthogonal": Orthogonal,
    "RandomNormal": RandomNormal,
    "RandomUniform": RandomUniform,
    "TruncatedNormal": TruncatedNormal,
    "VarianceScaling": VarianceScaling,
    "Zeros": Zeros,
}
BY_NAME: dict[str, type[Initializer]] = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "one": Ones,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zero": Zeros,
    "zeros": Zeros,
}


def get(identifier: Any) -> Callable[..., Tensor] | None:
    """An initializer from a name, a config dict, a class, an instance, a function `(shape, dtype)` or an array; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if identifier is None:
        return None
    if isinstance(identifier, np.ndarray | Tensor):
        return Constant(identifier)
    if callable(identifier):
        found: Callable[..., Tensor] = identifier() if inspect.isclass(identifier) else identifier  # type: ignore[assignment]
        return found
    name: Any = identifier
    config: dict[str, Any] = {}
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        name, config = identifier["class_name"], identifier.get("config") or {}
    if isinstance(name, str):
        known = CLASSES.get(name) or BY_NAME.get(name)
        if known is not None:
            return known.from_config(config)
        names = [*BY_NAME, *CLASSES]
        nearest = difflib.get_close_matches(name, names, n=len(names), cutoff=0.0)
        raise ValueError(f"initializer={name!r}: no such initializer.\n  expected  one of {', '.join(nearest)}, nearest first")
    raise ValueError(f"initializer={identifier!r}: expected a name such as 'glorot_uniform', an Initializer, or a function (shape, dtype).")


def serialize(initializer: Any) -> Any:
    """What a config holds for an initializer: Keras's config dict, or the object itself where this module does not know it."""
    if initializer is None or CLASSES.get(type(initializer).__name__) is not type(initializer):
        return initializer
    return {
        "module": "keras.initializers",
        "class_name": type(initializer).__name__,
        "config": initializer.get_config(),
        "registered_name": None,
    }


def compute_fans(shape: Sequence[int]) -> tuple[int, int]:
    """(inputs, outputs) of a weight in Keras's layout: the last axis is the output, the one before the input, the rest the receptive field.

    Example:
        >>> compute_fans((3, 3, 16, 32))
        (144, 288)
    """
    if len(shape) < 2:
        return (1, 1) if not shape else (int(shape[0]), int(shape[0]))
    field = math.prod(shape[:-2])
    return int(shape[-2] * field), int(shape[-1] * field)


def _drawn(dtype: torch.dtype) -> torch.dtype:
    """Half precision draws in float32: the CPU generators know no other."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
