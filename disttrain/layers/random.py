"""Random tensors for layers and steps of one's own, with the names and arguments of `keras.random`.

Within a pass of `fit`, `evaluate` or `predict` a draw is a function of (the run's seed, step, slice, `seed`), so that a step can be redone
anywhere: the numbers are others than Keras's, of the same distribution. Elsewhere a `SeedGenerator` counts its own draws. The same on every
device are `dropout`, `randint`, `shuffle` and `uniform`; `categorical` and `truncated_normal` are torch's, and `normal` differs on CPUs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import philox
from disttrain.identifiers import no_such_name
from disttrain.layers.context import current
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor
from disttrain.seeds import fold_in, next_key

Shape = int | Sequence[int]


class SeedGenerator:
    """A source of draws, to be made in `__init__` and handed to functions of this module as `seed`.

    Args:
        seed: a whole number; None takes one from the process seed (`set_random_seed`).

    Example:
        >>> source = SeedGenerator(1337)
        >>> bool((normal((2,), seed=source) == normal((2,), seed=SeedGenerator(1337))).all())
        True
    """

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise ValueError(f"SeedGenerator(seed={seed!r}): expected a whole number, 0 or more, or None.")
        self.seed, self.name = (next_key("seed_generator") if seed is None else seed), name
        self._drawn = 0

    def key(self) -> int:
        """The key of the next draw, see `disttrain.philox`."""
        if current().key is not None:
            return current().draw_key(fold_in(self.seed, "random"))
        self._drawn += 1
        return fold_in(self.seed, "random", self._drawn)

    def generator(self, device: torch.device | None = None) -> torch.Generator:
        """A generator of torch's for the next draw: other numbers on other devices."""
        return torch.Generator(torch.device("cpu") if device is None else device).manual_seed(self.key())

    def get_config(self) -> dict[str, Any]:
        """What rebuilds it."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """The inverse of `get_config`."""
        return cls(**config)


def _key(seed: Any) -> int:
    """Of a SeedGenerator that of the next draw, of a number always the same, of None a new one."""
    if isinstance(seed, SeedGenerator):
        return seed.key()
    if seed is None:
        return current().draw_key(fold_in(0, "random"))
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed={seed!r}: expected a whole number, a SeedGenerator or None.")
    return fold_in(seed, "random")


def _generator(seed: Any, device: torch.device | None = None) -> torch.Generator:
    return torch.Generator(device or torch.device("cpu")).manual_seed(_key(seed))


def _empty(shape: Shape, dtype: Any, owner: str) -> Tensor:
    wanted = DTYPES[standard_dtype(dtype)]
    if not wanted.is_floating_point:
        raise ValueError(f"random.{owner}(dtype={dtype!r}): expected a floating-point dtype.")
    return torch.empty((shape,) if isinstance(shape, int) else tuple(shape), dtype=wanted)


def normal(shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers."""
    x = _empty(shape, dtype, "normal")
    return philox.normal(_key(seed), x.shape, x.device, x.dtype).mul_(stddev).add_(mean)


def truncated_normal(shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers no farther than two `stddev` from `mean`."""
    x = _empty(shape, dtype, "truncated_normal")
    low, high = mean - 2 * stddev, mean + 2 * stddev
    return torch.nn.init.trunc_normal_(x, mean, stddev, low, high, generator=_generator(seed, x.device))


def uniform(shape: Shape, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers from `minval` up to `maxval`, all alike."""
    x = _empty(shape, dtype, "uniform")
    drawn = philox.uniform(_key(seed), x.shape, x.device, x.dtype).mul_(maxval - minval).add_(minval)
    return torch.where(drawn < maxval, drawn, minval)  # the sum may have been rounded up


def randint(shape: Shape, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Integers from `minval` to `maxval - 1`, all alike."""
    if minval >= maxval:
        raise ValueError(f"random.randint(minval={minval}, maxval={maxval}): expected minval below maxval.")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    drawn = philox.words(_key(seed), math.prod(sizes), torch.get_default_device())
    return (drawn.view(sizes) % (maxval - minval)).add_(minval).to(DTYPES[standard_dtype(dtype)])


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """For each row of `logits` (batch, classes) `num_samples` classes, by their softmax."""
    logits = as_tensor(logits)
    if logits.ndim != 2:
        raise ValueError(f"random.categorical: logits have shape {tuple(logits.shape)}, expected (batch, classes).")
    drawn = torch.multinomial(torch.softmax(logits, -1), num_samples, replacement=True, generator=_generator(seed, logits.device))
    return drawn.to(DTYPES[standard_dtype(dtype)])


def dropout(inputs: Any, rate: float, noise_shape: Sequence[int | None] | None = None, seed: Any = None) -> Tensor:
    """`inputs` with a share of `rate` set to 0 and the others divided by `1 - rate`; in `noise_shape` 1 broadcasts, None is the input's."""
    inputs = as_tensor(inputs)
    if not 0 <= rate <= 1:
        raise ValueError(f"random.dropout(rate={rate!r}): expected a number from 0 to 1.")
    if rate == 1:
        return torch.zeros_like(inputs)
    sizes = list(inputs.shape)
    if noise_shape is not None:
        if len(noise_shape) != inputs.ndim:
            raise ValueError(f"random.dropout(noise_shape={tuple(noise_shape)}): expected {inputs.ndim} sizes, one for each axis.")
        sizes = [own if wish is None else wish for own, wish in zip(sizes, noise_shape, strict=True)]
    keep = philox.uniform(_key(seed), sizes, inputs.device) >= rate
    return torch.where(keep, inputs / (1 - rate), torch.zeros((), dtype=inputs.dtype, device=inputs.device))


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Tensor:
    """`x` with its parts along `axis` in another order."""
    given: Tensor = as_tensor(x)
    return given.index_select(axis, philox.permutation(_key(seed), given.shape[axis], given.device))


def gamma(shape: Shape, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the gamma distribution with the shape parameter `alpha`, which broadcasts to `shape`, and the rate 1."""
    x = _empty(shape, dtype, "gamma")
    return _gammas(x, as_tensor(alpha), _generator(seed, x.device))


def beta(shape: Shape, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the beta distribution from 0 to 1; `alpha` and `beta` broadcast to `shape`."""
    x = _empty(shape, dtype, "beta")
    generator = _generator(seed, x.device)
    first = _gammas(x, as_tensor(alpha), generator)
    return first / (first + _gammas(x, as_tensor(beta), generator))


def binomial(shape: Shape, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """How many of `counts` tries succeed, each with `probabilities`; both broadcast to `shape`."""
    x = _empty(shape, dtype, "binomial")
    tries, chances = (as_tensor(value).to(x.dtype).expand(x.shape).contiguous() for value in (counts, probabilities))
    return torch.binomial(tries, chances, generator=_generator(seed, x.device))


def _gammas(like: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
    return torch._standard_gamma(alpha.to(like.dtype).expand(like.shape).contiguous(), generator=generator)


__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.random", name, __all__)
