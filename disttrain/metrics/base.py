"""What every metric does: sums that grow with each batch, and a result made from the sums."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import Tensor


class Variable(Tensor):
    """A sum that a metric keeps: a float64 tensor with Keras's `assign` methods, which change it in place."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # operations give plain tensors, at their speed

    def assign(self, value: Any) -> None:
        """Become `value`."""
        self.copy_(torch.as_tensor(value))

    def assign_add(self, value: Any) -> None:
        """Grow by `value`."""
        self.add_(torch.as_tensor(value, device=self.device))

    def assign_sub(self, value: Any) -> None:
        """Shrink by `value`."""
        self.sub_(torch.as_tensor(value, device=self.device))

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        twin = self.detach().clone().as_subclass(Variable)
        memo[id(self)] = twin
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _variable, (self.detach().clone(),)  # a clone: the runtime may have made this a view of one long vector


def _variable(values: Tensor) -> Variable:
    return values.as_subclass(Variable)


class Metric:
    """Base class: a subclass adds its variables in `__init__`, adds to them in `update_state`, and computes `result` from them.

    Every variable is a sum over samples that starts at 0, in float64, changed in place. So the states of the parts of a batch, or of
    several workers, add up to the state of the whole, and the result is that of all samples: never a mean of means.

    Args:
        name: the name in the logs; the class name in snake_case unless given.
        dtype: kept for configs; sums are always float64.

    Attributes:
        _direction: "up" when more is better, "down" when less is, None when unknown; `mode="auto"` of callbacks asks for it.

    Example:
        >>> class Largest(Metric):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.total = self.add_variable((), "total")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         self.total.add_(y_pred.sum())
        ...     def result(self):
        ...         return self.total
        >>> float(Largest()(None, torch.ones(3)))
        3.0
    """

    _direction: str | None = None

    def __init__(self, name: str | None = None, dtype: str | None = None) -> None:
        self.name = name or _snake_case(type(self).__name__)
        self.dtype = dtype or "float32"
        self._variables: list[Variable] = []

    @property
    def variables(self) -> list[Variable]:
        """The sums, in the order in which they were added."""
        return list(self._variables)

    def add_variable(self, shape: tuple[int, ...] = (), name: str | None = None, initializer: Any = "zeros", dtype: Any = None) -> Variable:
        """A new sum of `shape`. Only zeros can be its start: anything else would be counted once for each part of a batch."""
        start = initializer if isinstance(initializer, str) else type(initializer).__name__
        if start.lower() != "zeros":
            raise ValueError(
                f"add_variable(initializer={initializer!r}): expected 'zeros'; a metric's variables are sums, added up over workers."
            )
        variable = torch.zeros(tuple(shape), dtype=torch.float64).as_subclass(Variable)
        self._variables.append(variable)
        return variable

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        """Add variables whose shape depends on the outputs; called before the first update, and nothing for most metrics."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the sums."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state(self, y_true, y_pred, sample_weight=None).")

    def result(self) -> Any:
        """The value for all that was added since the last reset: a tensor."""
        raise NotImplementedError(f"{type(self).__name__} must define result(self).")

    def reset_state(self) -> None:
        """Start again from zero."""
        for variable in self._variables:
            variable.zero_()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and give the running result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the metric, in JSON types; the sums are not part of it."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The inverse of `get_config`."""
        return cls(**copy.deepcopy(config))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r}>"


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """`numerator / denominator`, and 0 where the denominator is 0."""
    empty = denominator == 0
    return torch.where(empty, 0.0, numerator / torch.where(empty, 1.0, denominator))


def _snake_case(name: str) -> str:
    """`TopKAccuracy` -> `top_k_accuracy`, `AUC` -> `auc`."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
