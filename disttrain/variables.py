"""Weights and states as Keras's variables that are tensors of torch: `assign`, `value`, `numpy`, `path`, `constraint` ..."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain import initializers, mixed_precision, watch
from disttrain.alignment import on_border
from disttrain.host_numbers import readable

_scopes: ContextVar[tuple[str, ...]] = ContextVar("scopes", default=())


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Variables that are made within have `name` in front in their `path`; those of layers are called by their layers.

    Example:
        >>> with name_scope("encoder"):
        ...     Variable([1.0], name="scale").path
        'encoder/scale'
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name_scope(name={name!r}): expected a name without '/'.")
    before = _scopes.set((*_scopes.get(), name))
    try:
        yield
    finally:
        _scopes.reset(before)


class Variable(Tensor):
    """A tensor that keeps its values: `dt.Variable(initializer, shape=None, dtype=None, trainable=True, name=None)`.

    One that is trainable is an `nn.Parameter` too, one that is not a buffer of the layer that it is given to as an attribute. Every
    operation on it gives a plain tensor, and takes the time that it takes on one.

    Outside a step, such as in a callback, a change reaches every worker of a launch. In a step it is state that the step writes: changes of
    the slices come together, and a step that is redone begins with what was there before.

    Args:
        initializer: the values, as a number, an array or a tensor; or an initializer, of which `shape` is asked then.
        dtype: that of the values unless given; of an initializer, the global policy's.
        autocast, aggregation, synchronization: as Keras has them; here a variable is the same on all workers whatever they say.

    Example:
        >>> steps = Variable(0.0, trainable=False)
        >>> _ = steps.assign_add(2.0)
        >>> float(steps)
        2.0
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # operations give plain tensors, at their speed

    _owner: weakref.ref[Any] | None = None  # the layer whose tables hold the constraint and the regularizer
    _given_name: str | None = None
    _scope: str = ""

    def __new__(
        cls,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str | None = None,
        synchronization: str = "auto",
        name: str | None = None,
    ) -> Any:
        value = _first_value(initializer, shape, dtype)
        trains = trainable and value.is_floating_point()
        return as_variable(value, Weight if trains else State, name=name or "variable", scope="/".join(_scopes.get()))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """All is made in `__new__`, of the class that fits."""

    # -- reading and writing --------------------------------------------------------------------------------------------------------

    @property
    def value(self) -> Tensor:
        """The tensor, through which gradients flow."""
        return self

    def numpy(self, *, force: bool = True) -> np.ndarray:  # as torch has it
        """A copy of the values."""
        watch.sync_before_read()
        return readable(self.detach().cpu().clone())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # always a copy
        values = self.numpy()
        return values if dtype is None else values.astype(dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """A function of NumPy takes it for an array: `np.min(layer.kernel)`. Of torch's own tensors it would call the method."""
        return function(*_arrays(args), **_arrays(kwargs))

    def assign(self, value: Any) -> Tensor:
        """Become `value`.

        Raises:
            ValueError: it has another shape.
        """
        new = self._fitting(value, "assign")
        with torch.no_grad():
            self.copy_(new)
        return new

    def assign_add(self, value: Any) -> Tensor:
        """Grow by `value`; gives the sum."""
        return self._moved(value, "assign_add", 1)

    def assign_sub(self, value: Any) -> Tensor:
        """Shrink by `value`; gives the difference."""
        return self._moved(value, "assign_sub", -1)

    def _moved(self, value: Any, called: str, sign: int) -> Tensor:
        change = self._fitting(value, called, broadcast=True)
        with torch.no_grad():
            self.add_(change, alpha=sign)
            return self.detach().clone()

    def _fitting(self, value: Any, called: str, broadcast: bool = False) -> Tensor:
        if not torch.compiler.is_compiling():
            watch.sync_before_read()
        tensor = torch.as_tensor(np.asarray(value) if isinstance(value, list | tuple) else value, device=self.device)
        tensor = tensor.detach().to(self.dtype)
        if tensor.shape != self.shape and not (broadcast and torch.broadcast_shapes(tensor.shape, self.shape) == self.shape):
            raise ValueError(
                f"The shape of the target variable and the shape of the target value in `variable.{called}(value)` must match. "
                f"variable.shape={tuple(self.shape)}, Received: value.shape={tuple(tensor.shape)}. Target variable: {self.path}"
            )
        return tensor

    # -- what is known of it --------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name that it was made with."""
        return self._given_name or "variable"

    @property
    def path(self) -> str:
        """The names of the layers around it, and its own, with slashes between."""
        owner = self._layer()
        scope = f"{self._scope}/" if self._scope else "" if owner is None else f"{owner.name}/"
        return scope + self.name

    @property
    def trainable(self) -> bool:
        """May training change it by its gradient?"""
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value and not isinstance(self, nn.Parameter):
            raise ValueError(f"{self.path}: made with trainable=False, so it is no parameter.\n  try  make it with trainable=True")
        self.requires_grad_(bool(value))

    @property
    def constraint(self) -> Any:
        """What it becomes after each update of the optimizer; None leaves it as it is."""
        return self._note("_constraints")

    @constraint.setter
    def constraint(self, value: Any) -> None:
        if value is not None and not callable(value):
            raise ValueError(f"constraint={value!r}: expected a Constraint, a function or None.")
        self._set_note("_constraints", value)

    @property
    def regularizer(self) -> Any:
        """Its penalty in the loss; None for none."""
        return self._note("_regularizers")

    @regularizer.setter
    def regularizer(self, value: Any) -> None:
        if value is not None and not callable(value):
            raise ValueError(f"regularizer={value!r}: expected a Regularizer, a function or None.")
        self._set_note("_regularizers", value)

    def _layer(self) -> Any:
        return None if self._owner is None else self._owner()

    def _place(self) -> tuple[Any, str | None]:
        owner = self._layer()
        for store in () if owner is None else (owner._parameters, owner._buffers):
            for key, tensor in store.items():
                if tensor is self:
                    return owner, key
        return None, None

    def _note(self, table: str) -> Any:
        owner, key = self._place()
        return self.__dict__.get(table) if owner is None else getattr(owner, table).get(key)

    def _set_note(self, table: str, value: Any) -> None:
        owner, key = self._place()
        if owner is None:
            self.__dict__[table] = value
        elif value is None:
            getattr(owner, table).pop(key, None)
        else:
            getattr(owner, table)[key] = value

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]  # as torch has it
        dtype = mixed_precision.dtype_name(self.dtype)
        return f"<Variable path={self.path}, shape={tuple(self.shape)}, dtype={dtype}, value={self.numpy()}>"

    # -- being copied ---------------------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a copy is given beside the values."""
        return {"name": self._given_name, "scope": self._scope, "requires_grad": self.requires_grad}

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        twin: Variable = as_variable(self.detach().clone(memory_format=torch.preserve_format), type(self), **self.facts())
        memo[id(self)] = twin
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _revived, (type(self), self.detach().clone(), self.facts())  # a clone: the runtime may have made it a view of a long vector


class Weight(Variable, nn.Parameter):
    """A variable that is a parameter."""


class State(Variable):
    """A variable that training does not change by a gradient: a buffer of its layer."""


def as_variable(
    value: Tensor, kind: type[Variable], *, name: str | None = None, scope: str = "", requires_grad: bool = True, owner: Any = None
) -> Any:
    """`value` as a variable of `kind`, on the same memory."""
    plain = value.detach()
    if issubclass(kind, nn.Parameter):
        made: Any = torch.Tensor._make_subclass(kind, plain, requires_grad and plain.is_floating_point())
    else:
        made = plain.as_subclass(kind)
    made._given_name = name
    if scope:
        made._scope = scope
    if owner is not None:
        made._owner = weakref.ref(owner)
    return made


def own_all(owner: Any) -> None:
    """After a copy of a layer: its variables are its own, not those of the layer that was copied."""
    for store in (owner.__dict__.get("_parameters") or {}, owner.__dict__.get("_buffers") or {}):
        for tensor in store.values():
            if isinstance(tensor, Variable):
                tensor._owner = weakref.ref(owner)


def _arrays(value: Any) -> Any:
    """The variables in arguments as arrays."""
    if isinstance(value, Variable):
        return value.numpy()
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_arrays(item) for item in value)
    return {key: _arrays(item) for key, item in value.items()} if isinstance(value, dict) else value


def _revived(kind: type[Variable], value: Tensor, facts: dict[str, Any]) -> Any:
    return as_variable(value, kind, **facts)


def _first_value(initializer: Any, shape: Any, dtype: Any) -> Tensor:
    torch_dtype = None if dtype is None else mixed_precision.DTYPES[mixed_precision.get(dtype).variable_dtype]
    if isinstance(initializer, str | dict):
        initializer = initializers.get(initializer)
    if callable(initializer) and not isinstance(initializer, Tensor | np.ndarray):
        if shape is None:
            raise ValueError(
                f"When creating a Variable from an initializer, the `shape` argument should be specified. "
                f"Received: initializer={initializer} and shape={shape}"
            )
        chosen = torch_dtype or mixed_precision.DTYPES[mixed_precision.get(None).variable_dtype]
        value = initializers.asked(initializer, tuple(shape) if isinstance(shape, list | tuple) else (shape,), chosen)
        torch_dtype = chosen
    else:
        value = initializer
        if torch_dtype is None and not hasattr(value, "dtype"):
            torch_dtype = torch.float32 if np.asarray(value).dtype.kind == "f" else None
    tensor = value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    tensor = tensor.clone() if torch_dtype is None or tensor.dtype is torch_dtype else tensor.to(torch_dtype)
    return on_border(tensor.contiguous())
