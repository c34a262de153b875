"""What a weight may be: projections applied after each update, with the names, arguments and defaults of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.arrays import takes_arrays
from disttrain.identifiers import made_from, no_such_name, written

_EPSILON = 1e-7  # Keras's fuzz factor: a weight of norm 0 stays 0 instead of becoming NaN

Axis = int | Sequence[int]


class Constraint:
    """A function of a weight that gives the nearest weight allowed. Subclasses define `__call__`, and `get_config` for their arguments.

    The runtime applies it after each update of the weight, without gradient. It must be a function of the weight alone: every worker
    applies it for itself, and all of them have to come to the same bits.

    Example:
        >>> class Rounded(Constraint):
        ...     def __call__(self, w):
        ...         return w.round()
        >>> Rounded()(torch.tensor([0.4, 1.6])).tolist()
        [0.0, 2.0]
    """

    @takes_arrays
    def __call__(self, w: Tensor) -> Tensor:
        """The weight as it may be, of the same shape and dtype; here `w` itself."""
        return w

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """The inverse of `get_config`."""
        return cls(**config)


class MaxNorm(Constraint):
    """Scales down what is longer than `max_value`: `w * min(norm, max_value) / (norm + 1e-7)`.

    Args:
        max_value: the longest norm allowed, 0 or more.
        axis: the axis, or axes, that a norm runs over: 0 for the inputs of each unit of a `Dense` kernel `(inputs, units)`,
            `[0, 1, 2]` for the filters of a `Conv2D` kernel `(height, width, inputs, filters)`.

    Example:
        >>> MaxNorm(2.0)(torch.tensor([[3.0, 0.5], [4.0, 0.0]]))
        tensor([[1.2000, 0.5000],
                [1.6000, 0.0000]])
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = _bound(self, "max_value", max_value)
        self.axis = _axis(self, axis)

    @takes_arrays
    def __call__(self, w: Tensor) -> Tensor:
        norms = _norms(w, self.axis)
        return w * (norms.clamp(max=self.max_value) / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Negative values become 0.

    Example:
        >>> NonNeg()(torch.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    @takes_arrays
    def __call__(self, w: Tensor) -> Tensor:
        return w.clamp(min=0)


class UnitNorm(Constraint):
    """Norms become 1: `w / (norm + 1e-7)`.

    Args:
        axis: see `MaxNorm`.

    Example:
        >>> UnitNorm()(torch.tensor([[3.0], [4.0]]))
        tensor([[0.6000],
                [0.8000]])
    """

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = _axis(self, axis)

    @takes_arrays
    def __call__(self, w: Tensor) -> Tensor:
        return w / (_EPSILON + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Norms move into `[min_value, max_value]`: to `rate * clip(norm, min_value, max_value) + (1 - rate) * norm`.

    Args:
        min_value, max_value: the shortest and the longest norm allowed.
        rate: how much of the way each update goes, from 0 to 1, which is strict.
        axis: see `MaxNorm`.

    Example:
        >>> MinMaxNorm(1.0, 2.0, rate=0.5)(torch.tensor([[4.0]])).tolist()
        [[3.0]]
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0) -> None:
        self.min_value, self.max_value = _bound(self, "min_value", min_value), _bound(self, "max_value", max_value)
        if min_value > max_value:
            raise ValueError(f"MinMaxNorm(min_value={min_value!r}, max_value={max_value!r}): expected min_value <= max_value.")
        if not 0.0 <= _bound(self, "rate", rate) <= 1.0:
            raise ValueError(f"MinMaxNorm(rate={rate!r}): expected a share of the way, from 0 to 1.")
        self.rate = rate
        self.axis = _axis(self, axis)

    @takes_arrays
    def __call__(self, w: Tensor) -> Tensor:
        norms = _norms(w, self.axis)
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1.0 - self.rate) * norms
        return w * (desired / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


CLASSES: dict[str, type[Constraint]] = {
    "Constraint": Constraint,
    "MaxNorm": MaxNorm,
    "MinMaxNorm": MinMaxNorm,
    "NonNeg": NonNeg,
    "UnitNorm": UnitNorm,
}
BY_NAME: dict[str, type[Constraint]] = {
    "constraint": Constraint,
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}
max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """A constraint from a name, a config dict, a class, an instance or a function; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    found: Callable[[Tensor], Tensor] | None = made_from(
        identifier, "constraint", CLASSES, BY_NAME, "a name such as 'non_neg', a Constraint, a function of a weight, or None"
    )
    return found


deserialize = get  # Keras's name for making one from its config


def serialize(constraint: Any) -> Any:
    """What a config holds for a constraint: Keras's config dict, or the object itself where this module does not know it."""
    return written(constraint, "keras.constraints", CLASSES)


def _norms(w: Tensor, axis: int | list[int]) -> Tensor:
    """Euclidean norms along `axis`, which stays as size 1."""
    return torch.sqrt(w.square().sum(axis, keepdim=True))


def _bound(constraint: Constraint, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise ValueError(f"{type(constraint).__name__}({name}={value!r}): expected a finite number, 0 or more.")
    return value


def _axis(constraint: Constraint, axis: Axis) -> int | list[int]:
    axes = [axis] if isinstance(axis, int) else axis
    if isinstance(axes, str) or not isinstance(axes, Sequence) or any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
        raise ValueError(f"{type(constraint).__name__}(axis={axis!r}): expected an axis or a list of axes, whole numbers.")
    return axis if isinstance(axis, int) else list(axis)


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.constraints", name, globals())
