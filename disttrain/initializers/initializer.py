"""What every initializer is: a function of a shape and a dtype, with a config; and how those that draw get their key."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from disttrain import mixed_precision
from disttrain.mixed_precision import DTYPES, dtype_name
from disttrain.seeds import fold_in, next_key

_WITHIN_TWO = math.erf(2.0 / math.sqrt(2.0))  # the share of a normal distribution within two standard deviations


class Initializer:
    """A function `(shape, dtype) -> Tensor`. Subclasses define `__call__` and `get_config`.

    Example:
        >>> class Halves(Initializer):
        ...     def __call__(self, shape, dtype=torch.float32):
        ...         return torch.full(tuple(shape), 0.5, dtype=dtype)
        >>> Halves()((2,)).tolist()
        [0.5, 0.5]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__ and cls.__module__.startswith("disttrain."):
            cls.__call__ = _by_any_name(cls.__dict__["__call__"])  # type: ignore[method-assign]

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, shape, dtype).")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `get_config`."""
        return cls(**config)

    def clone(self) -> Self:
        """Another one of the same arguments; without a seed it draws other values."""
        return self.from_config(self.get_config())


class RandomInitializer(Initializer):
    """Base of those that draw: the key comes from `seed`, or at construction from the process seed.

    Args:
        seed: a whole number; None takes the next key of the process. A generator with a state of its own, such as Keras's
            `SeedGenerator`, is refused: each call would give other values, and a run could not be repeated from its seed.
    """

    def __init__(self, seed: int | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | None):
            raise ValueError(f"{type(self).__name__}(seed={seed!r}): expected an integer or None.")
        self.seed = seed
        self._key = next_key("weight") if seed is None else fold_in(0, "initializer", seed)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self._key)

    def _normal(self, shape: Sequence[int], mean: float, stddev: float, dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=drawn_dtype(dtype)).normal_(mean, stddev, generator=self._generator()).to(dtype)

    def _uniform(self, shape: Sequence[int], low: float, high: float, dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=drawn_dtype(dtype)).uniform_(low, high, generator=self._generator()).to(dtype)

    def _truncated(self, shape: Sequence[int], mean: float, stddev: float, dtype: torch.dtype) -> Tensor:
        values = torch.empty(tuple(shape), dtype=drawn_dtype(dtype))
        # By the inverse of the distribution: of a standard normal, the share within x is erf(x / sqrt(2)).
        values.uniform_(-_WITHIN_TWO, _WITHIN_TWO, generator=self._generator()).erfinv_().mul_(2.0**0.5).clamp_(-2.0, 2.0)
        return values.mul_(stddev).add_(mean).to(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


def drawn_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision draws in float32: the CPU generators know no other."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def asked(initializer: Callable[..., Any], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What an initializer, or a function in its place, gives. One that is made of NumPy's functions is given the dtype's name."""
    try:
        value = initializer(shape, dtype)
    except TypeError as error:
        if "as a data type" not in str(error):
            raise
        value = initializer(shape, dtype_name(dtype))
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    return tensor.detach().to(dtype).contiguous()


def _by_any_name(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`call`, whose shape may be a number or a list, and whose dtype a name, one of NumPy's, or None for that of the global policy."""

    @functools.wraps(call)
    def wrapper(self: Any, shape: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        if not isinstance(dtype, torch.dtype):
            name = (
                dtype if dtype is None or isinstance(dtype, str | dict) or not isinstance(dtype, type | np.dtype) else np.dtype(dtype).name
            )
            dtype = DTYPES[mixed_precision.get(name).variable_dtype]
        return call(self, (shape,) if isinstance(shape, int) else tuple(shape), dtype, **kwargs)

    return wrapper
