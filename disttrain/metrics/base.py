"""What every metric does: sums that grow with each batch, and a result made from the sums."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.identifiers import to_snake_case
from disttrain.variables import State


class Variable(State):
    """A sum that a metric keeps: a float64 tensor with Keras's `assign` methods, which change it in place."""

    @property
    def value(self) -> Tensor:
        """The tensor itself, as Keras's variables have it."""
        return self.detach().as_subclass(Tensor)

    def assign(self, value: Any) -> Any:
        """Become `value`."""
        new = torch.as_tensor(value)
        if new.shape != self.shape:
            return super().assign(value)  # says what does not fit
        return self.copy_(new.detach())

    def assign_add(self, value: Any) -> Any:
        """Grow by `value`; gives the sum itself, not a copy: each step adds to many."""
        return self.add_(on_device(value, self.device).detach())

    def assign_sub(self, value: Any) -> Any:
        """Shrink by `value`; gives the sum itself."""
        return self.sub_(on_device(value, self.device).detach())

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        twin = self.detach().clone().as_subclass(Variable)
        twin._given_name = self._given_name
        memo[id(self)] = twin
        return twin


class Metric:
    """Base class: a subclass adds its variables in `__init__`, adds to them in `update_state`, and computes `result` from them.

    Every variable is a sum over samples that starts at 0, in float64, changed in place. So the states of the parts of a batch, or of
    several workers, add up to the state of the whole, and the result is that of all samples: never a mean of means. Metrics that are
    attributes of a metric (or lie in a list, tuple or dict that is one) belong to it: their variables are among its own.

    Args:
        dtype: kept for configs; sums are always float64.
        name: the name in the logs; the class name in snake_case unless given.

    Attributes:
        _direction: "up" when more is better, "down" when less is, None when unknown; `mode="auto"` of callbacks asks for it.

    Example:
        >>> class SumOfOutputs(Metric):
        ...     def __init__(self, name="sum_of_outputs", **kwargs):
        ...         super().__init__(name=name, **kwargs)
        ...         self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         self.total.assign_add(y_pred.sum())
        ...     def result(self):
        ...         return self.total
        >>> float(SumOfOutputs()(None, torch.ones(3)))
        3.0
    """

    _direction: str | None = None
    _fitted = False  # `fitted_to` was called, so the runtime knows all variables

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name = name or to_snake_case(type(self).__name__)
        self.dtype = str(dtype or "float32").removeprefix("torch.")
        self._variables: list[Variable] = []

    @property
    def _dtype(self) -> str:
        return self.dtype  # as metrics written for Keras ask for it

    @property
    def variables(self) -> list[Variable]:
        """The sums, in the order in which they were added, then those of the metrics within this one."""
        return [*self._own_variables(), *(variable for metric in self._metrics_within() for variable in metric.variables)]

    def _own_variables(self) -> list[Variable]:
        try:
            return self._variables
        except AttributeError:
            raise ValueError(f"{type(self).__name__}: call super().__init__() first in its __init__.") from None

    def _metrics_within(self) -> Iterator[Metric]:
        seen: set[int] = set()
        for value in vars(self).values():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            for metric in inside:
                if isinstance(metric, Metric) and id(metric) not in seen:
                    seen.add(id(metric))
                    yield metric

    def add_variable(
        self,
        shape: tuple[int, ...] | list[int] = (),
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str | None = "sum",
        name: str | None = None,
    ) -> Variable:
        """A new sum of `shape`, in float64 whatever `dtype` says.

        Raises:
            ValueError: a start other than zeros, which would be counted once for each part of a batch; an `aggregation` other than the
                sum; or a training has begun, whose workers add up the variables that they know of.
        """
        start = "zeros" if initializer is None else initializer if isinstance(initializer, str) else _class_name(initializer)
        if start.lower() != "zeros":
            raise ValueError(
                f"add_variable(initializer={initializer!r}): expected 'zeros'; a metric's variables are sums, added up over workers."
            )
        if aggregation not in (None, "none", "sum"):
            raise ValueError(f"add_variable(aggregation={aggregation!r}): expected 'sum'; variables are added up over workers.")
        if self._fitted:
            raise ValueError(
                f"{type(self).__name__} adds the variable {name!r} in update_state, after training has laid out its variables.\n"
                "  try       add it in __init__, or in build(self, y_shape, y_pred_shape)"
            )
        variable = torch.zeros(tuple(shape), dtype=torch.float64).as_subclass(Variable)
        self._own_variables().append(variable)
        variable._given_name, variable._scope = name, self.name
        return variable

    def add_weight(
        self, shape: tuple[int, ...] | list[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """`add_variable` by its older name."""
        return self.add_variable(shape, initializer, dtype, name=name)

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        """Add variables whose shape depends on the outputs; called before the first update. Here: build the metrics within."""
        for metric in self._metrics_within():
            metric.build(y_shape, y_pred_shape)

    def fitted_to(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        """Build for these outputs; from now on no variable may be added."""
        self._set_fitted(False)
        self.build(y_shape, y_pred_shape)
        self._set_fitted(True)

    def _set_fitted(self, fitted: bool) -> None:
        self._fitted = fitted
        for metric in self._metrics_within():
            metric._set_fitted(fitted)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the sums."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state(self, y_true, y_pred, sample_weight=None).")

    def result(self) -> Any:
        """The value for all that was added since the last reset: a tensor."""
        raise NotImplementedError(f"{type(self).__name__} must define result(self).")

    def reset_state(self) -> None:
        """Start again from zero."""
        for variable in self.variables:
            variable.zero_()

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """What `update_state` makes of sums with these values; the metric's own stay."""
        with self._holding(metric_variables):
            self.update_state(*args, **kwargs)
            return [variable.value.clone() for variable in self.variables]

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """The result for sums with these values."""
        with self._holding(metric_variables):
            found = self.result()
            return found.clone() if isinstance(found, Tensor) else found

    def stateless_reset_state(self) -> list[Tensor]:
        """The values of sums that nothing was added to."""
        return [torch.zeros_like(variable.value) for variable in self.variables]

    @contextmanager
    def _holding(self, values: Sequence[Any]) -> Iterator[None]:
        own = self.variables
        if len(values) != len(own):
            raise ValueError(
                f"Argument `metric_variables` must be a list of tensors corresponding 1:1 to {type(self).__name__}().variables. "
                f"Received list with length {len(values)}, but expected {len(own)} variables."
            )
        before = [variable.value.clone() for variable in own]
        try:
            for variable, value in zip(own, values, strict=True):
                variable.assign(value)
            yield
        finally:
            for variable, value in zip(own, before, strict=True):
                variable.copy_(value)

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


def _class_name(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__
