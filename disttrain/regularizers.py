"""Penalties on weights and outputs, with the names and defaults of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from disttrain.arrays import takes_arrays
from disttrain.identifiers import made_from, no_such_name, written

_EPSILON = 1e-7  # Keras's fuzz factor, the shortest norm that a vector is divided by


class Regularizer:
    """A function of a tensor that gives a scalar to add to the loss. Subclasses define `__call__` and `get_config`."""

    @takes_arrays
    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, x).")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The inverse of `get_config`."""
        return cls(**config)


class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x**2)`; no factor one half, so L2 is not torch's `weight_decay`."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor(self, "l1", 0.0 if l1 is None else l1)
        self.l2 = _factor(self, "l2", 0.0 if l2 is None else l2)

    @takes_arrays
    def __call__(self, x: Tensor) -> Tensor:
        total = x.new_zeros(())
        if self.l1:
            total = total + self.l1 * x.abs().sum()
        if self.l2:
            total = total + self.l2 * x.square().sum()
        return total

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """`l1 * sum(|x|)`."""

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor(self, "l1", 0.01 if l1 is None else l1)

    @takes_arrays
    def __call__(self, x: Tensor) -> Tensor:
        return self.l1 * x.abs().sum()

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """`l2 * sum(x**2)`."""

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor(self, "l2", 0.01 if l2 is None else l2)

    @takes_arrays
    def __call__(self, x: Tensor) -> Tensor:
        return self.l2 * x.square().sum()

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean of `|cos|` of the angle between two rows, over all pairs of them; or of columns.

    Args:
        factor: 0 or more.
        mode: "rows" or "columns" of the matrix, which are to become orthogonal to each other.

    Example:
        >>> import torch
        >>> OrthogonalRegularizer(0.5)(torch.tensor([[2.0, 0.0], [3.0, 3.0]]))  # 0.5 * cos(45 degrees)
        tensor(0.3536)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _factor(self, "factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer(mode={mode!r}): expected 'rows' or 'columns'.")
        self.mode = mode

    @takes_arrays
    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer: the tensor has shape {tuple(x.shape)}.\n  expected  a matrix, of two axes")
        vectors = x if self.mode == "rows" else x.t()
        unit = F.normalize(vectors, dim=1, eps=_EPSILON)  # a vector of norm 0 stays 0, orthogonal to all
        cosines = (unit @ unit.t()).abs()
        pairs = max(1, len(vectors) * (len(vectors) - 1) // 2)  # one vector alone has no pair and no penalty
        return self.factor * cosines.triu(1).sum() / pairs

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


CLASSES: dict[str, type[Regularizer]] = {"L1": L1, "L1L2": L1L2, "L2": L2, "OrthogonalRegularizer": OrthogonalRegularizer}
BY_NAME: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l1_l2": L1L2,
    "l1l2": L1L2,
    "l2": L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """A regularizer from a name, a config dict, a class, an instance or a function; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    found: Callable[[Tensor], Tensor] | None = made_from(
        identifier, "regularizer", CLASSES, BY_NAME, "a name such as 'l2', a Regularizer, a function of a tensor, or None"
    )
    return found


deserialize = get  # Keras's name for making one from its config


def serialize(regularizer: Any) -> Any:
    """What a config holds for a regularizer: Keras's config dict, or the object itself where this module does not know it."""
    return written(regularizer, "keras.regularizers", CLASSES)


def _factor(regularizer: Regularizer, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise ValueError(f"{type(regularizer).__name__}({name}={value!r}): expected a finite number, 0 or more.")
    return float(value)


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.regularizers", name, globals())
