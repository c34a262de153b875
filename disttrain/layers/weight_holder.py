"""The weights of a layer: making them, listing them in Keras's order, freezing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain import constraints, initializers, regularizers, variables, watch
from disttrain.alignment import on_border
from disttrain.host_numbers import LACKED
from disttrain.layers import tracking
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.naming import scope_of
from disttrain.layers.weight_budget import charge
from disttrain.variables import State, Variable, Weight


class WeightHolder(nn.Module):
    """The half of `Layer` that has to do with weights: trainable ones are parameters, the others persistent buffers."""

    name: str
    built: bool
    _building: bool
    _compute_dtype: torch.dtype
    _foreign: dict[str, nn.Module] | None
    _regularizers: dict[str, Any]
    _constraints: dict[str, Any]
    _row_states: set[str]
    _kept_dtype: set[str]
    _trainable: bool
    dtype: str

    # -- making ---------------------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        name: Any = None,
        shape: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        constraint: Any = None,
        *,
        init: Any = None,
    ) -> Any:
        """Make a weight: an `nn.Parameter`, or with `trainable=False` a buffer. `init` is short for `initializer`.

        Args:
            autocast: under mixed precision `call` reads a trainable weight in the dtype of the computation; False leaves it as it is.
            constraint: what the weight becomes after each update of the optimizer: a name, a Constraint or a function.

        Raises:
            ValueError: the layer is built already; weights are made in `__init__` and `build`.
        """
        if isinstance(name, list | tuple):  # Keras 3 puts the shape, then the initializer first
            name, shape, initializer = None, name, shape if initializer is None else initializer
        if self.built and not self._building:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: add_weight({name!r}) after building: you cannot add new elements of state then.\n"
                "  try  make weights in __init__ or in build(self, input_shape)"
            )
        shape = () if shape is None else (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        shape = tuple(int(size) if isinstance(size, np.integer) else size for size in shape)  # of np.prod and the like
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"{type(self).__name__} {self.name!r}: weight {name!r} of shape {shape} has a size that is not known.")
        torch_dtype = DTYPES[self.dtype if dtype is None else standard_dtype(dtype)]
        chosen = initializers.get(init if initializer is None else initializer)
        if chosen is None:
            chosen = initializers.GlorotUniform() if torch_dtype.is_floating_point else initializers.Zeros()
        charge(shape, torch_dtype)
        value = on_border(initializers.asked(chosen, shape, torch_dtype))
        if tuple(value.shape) != shape:
            raise ValueError(f"{type(self).__name__} {self.name!r}: the initializer of {name!r} gave {tuple(value.shape)}, not {shape}.")
        key = self._free_weight_name(name or "variable")
        self.__dict__.pop(key, None)  # `self.kernel = None` before building
        facts: dict[str, Any] = {"name": name or "variable", "scope": scope_of(self.name), "owner": self}
        if trainable:
            self._parameters[key] = variables.as_variable(value, Weight, requires_grad=self._trainable, **facts)
        else:
            self._buffers[key] = variables.as_variable(value, State, **facts)
        if regularizer is not None:
            self._regularizers[key] = regularizers.get(regularizer)
        if constraint is not None:
            self._constraints[key] = constraints.get(constraint)
        if not autocast:
            self._kept_dtype.add(key)
        return self._parameters[key] if trainable else self._buffers[key]

    def add_variable(self, shape: Any, initializer: Any, dtype: Any = None, trainable: bool = True, **settings: Any) -> Any:
        """`add_weight` by Keras's other name."""
        return self.add_weight(shape=shape, initializer=initializer, dtype=dtype, trainable=trainable, **settings)

    def add_row_state(self, name: str, shape: Sequence[int], dtype: Any = None) -> Any:
        """Make a buffer of `shape` (batch, ...) whose rows belong to the rows of the global batch, zeros at first.

        A slice of the batch writes the rows of `current().rows` only; the runtime puts the rows of all slices together.
        """
        buffer = self.add_weight(name, tuple(shape), "zeros", trainable=False, dtype=dtype)
        self._row_states.add(next(key for key, value in self._buffers.items() if value is buffer))
        return buffer

    def _free_weight_name(self, name: str) -> str:
        name = name.replace(".", "_").replace("/", "_")
        key, number = name, 0
        while key in self._parameters or key in self._buffers:
            number += 1
            key = f"{name}_{number}"
        return key

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "input_spec":
            self.__dict__["_foreign"] = None  # inputs are looked at from now on
        if isinstance(value, nn.Module | Tensor) and "_modules" not in self.__dict__:
            raise RuntimeError(f"{type(self).__name__}.__init__ must call super().__init__() before it sets {name!r}.")
        if isinstance(value, nn.Module) or (isinstance(value, list | tuple | dict) and tracking.holds_modules(value)):
            # What lists were given so far comes first, so that weights are in the order in which layers were set, as in Keras.
            tracking.adopt(self)
            super().__setattr__(name, value)  # type: ignore[arg-type]
            tracking.adopt(self)
            self.__dict__["_foreign"] = None
            return
        if isinstance(value, Tensor) and self._rename_weight(name, value):
            return
        if isinstance(value, Weight | State) and value._layer() is None:
            self._take_over(name, value)
            return
        super().__setattr__(name, value)

    def _take_over(self, name: str, value: Any) -> None:
        """`self.count = dt.Variable(...)`: it is a weight of this layer from now on."""
        self.__dict__.pop(name, None)
        (self._parameters if isinstance(value, nn.Parameter) else self._buffers)[name] = value
        for table in ("_regularizers", "_constraints"):
            if (note := value.__dict__.pop(table, None)) is not None:
                getattr(self, table)[name] = note
        variables.own_all(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        variables.own_all(self)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = {name: buffer for name, buffer in self._buffers.items() if isinstance(buffer, Variable)}
        applied = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            if (new := self._buffers[name]) is not old and new is not None:  # what moves to another device is a plain tensor there
                self._buffers[name] = variables.as_variable(new, State, owner=self, **old.facts())
        return applied

    def _rename_weight(self, name: str, value: Tensor) -> bool:
        """`self.scale = self.add_weight("gamma", ...)`: the weight answers to the attribute's name in `state_dict()`."""
        for store in (self._parameters, self._buffers):
            old = next((key for key, tensor in store.items() if tensor is value), None)
            if old is None:
                continue
            if old != name:
                self.__dict__.pop(name, None)
                renamed = [(name if key == old else key, tensor) for key, tensor in store.items()]
                store.clear()
                store.update(renamed)  # type: ignore[arg-type]
                for notes in (self._regularizers, self._constraints):
                    if old in notes:
                        notes[name] = notes.pop(old)
                for names in (self._row_states, self._kept_dtype):
                    if old in names:
                        names.remove(old)
                        names.add(name)
            return True
        return False

    # -- listing --------------------------------------------------------------------------------------------------------------------

    def named_weights(self) -> list[tuple[str, Tensor]]:
        """(key in `state_dict()`, tensor) of every weight, in Keras's order: the names that checkpoints and digests use."""
        watch.sync_before_read()
        return tracking.named_weights(self)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        watch.sync_before_read()
        return super().named_parameters(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        watch.sync_before_read()
        return super().state_dict(*args, **kwargs)

    @property
    def weights(self) -> list[Tensor]:
        """Every weight: own trainable, own non-trainable, then those of each child."""
        return [tensor for _, tensor in self.named_weights()]

    @property
    def variables(self) -> list[Tensor]:
        """Keras's other name for `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The weights that training changes by their gradients."""
        return [tensor for tensor in self.weights if tensor.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """Moving statistics, and every weight of a frozen layer."""
        return [tensor for tensor in self.weights if not tensor.requires_grad]

    @property
    def trainable_variables(self) -> list[Tensor]:
        """Keras's other name for `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """Keras's other name for `non_trainable_weights`."""
        return self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as arrays, in the order of `weights`; of bfloat16, which NumPy lacks, as float32, which holds it."""
        copies = [tensor.detach().cpu().clone() for tensor in self.weights]
        return [(copy.float() if copy.dtype is torch.bfloat16 else copy).numpy() for copy in copies]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy arrays into the weights, in the order of `weights`.

        Raises:
            ValueError: another number of arrays, or another shape; nothing is changed then.
        """
        own = self.named_weights()
        if len(own) != len(weights):
            raise ValueError(f"{self._described()}.set_weights: got {len(weights)} arrays, expected {len(own)}, one for each of `weights`.")
        values = [torch.as_tensor(np.asarray(w)) if not isinstance(w, Tensor) else w for w in weights]
        for (name, tensor), value in zip(own, values, strict=True):
            if value.shape != tensor.shape:
                raise ValueError(f"{self._described()}.set_weights: {name} has shape {tuple(tensor.shape)}, got {tuple(value.shape)}.")
        with torch.no_grad():
            for (_, tensor), value in zip(own, values, strict=True):
                tensor.copy_(value)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """What a `.keras` or `.weights.h5` file holds of this layer, without the layers in it: its weights, under "0", "1", ...

        A layer that keeps arrays beside its weights, or its weights in another form, puts them into `store` by names of its own.
        """
        for number, (_, tensor) in enumerate(tracking.own_weights(self)):
            value = tensor.detach().cpu()
            store[str(number)] = value if value.dtype in LACKED else value.numpy()

    def load_own_variables(self, store: dict[str, Any]) -> None:
        """The inverse of `save_own_variables`.

        Raises:
            ValueError: another number of arrays than of weights, or one of another shape.
        """
        own = tracking.own_weights(self)
        if len(store) != len(own):
            never = "" if self.built else ", for it was never built"
            raise ValueError(f"{self._described()} has {len(own)} weights of its own{never}; the file has {len(store)}.")
        with torch.no_grad():
            for number, (name, tensor) in enumerate(own):
                value = torch.as_tensor(store[str(number)])
                if value.shape != tensor.shape:
                    raise ValueError(f"{self._described()}: {name} has shape {tuple(tensor.shape)}, in the file {tuple(value.shape)}.")
                tensor.copy_(value)

    def count_params(self) -> int:
        """How many numbers the weights hold.

        Raises:
            ValueError: the layer is not built.
        """
        if not self.built:
            raise ValueError(f"{self._described()}.count_params(): not built yet. Call it on data, or build(input_shape).")
        return sum(tensor.numel() for tensor in self.weights)

    @property
    def trainable(self) -> bool:
        """May training change the weights? Setting it sets it for every layer inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        tracking.adopt(self)
        for parameter in self._parameters.values():
            if parameter is not None and parameter.is_floating_point():
                parameter.requires_grad_(self._trainable)
        for child in self._modules.values():
            if isinstance(child, WeightHolder):
                child.trainable = value
            elif child is not None:
                child.requires_grad_(self._trainable)

    def regularization_losses(self) -> list[Tensor]:
        """The penalty of each regularized trainable weight, in the order of the layers; computed at each call."""
        found = []
        for module in self.modules():
            if isinstance(module, WeightHolder) and module._regularizers:
                for name, regularizer in module._regularizers.items():
                    weight = module._parameters.get(name)
                    if weight is not None and weight.requires_grad:
                        found.append(regularizer(weight))
        return found

    def _own_device(self) -> torch.device | None:
        """Where the weights are; None without any."""
        return next((tensor.device for tensor in nn.Module.parameters(self)), None)

    def _described(self) -> str:
        return f"{type(self).__name__} {self.name!r}"


@contextmanager
def watched_attributes() -> Iterator[None]:
    """Within the block, to read a weight as an attribute, such as `layer.kernel`, counts as a look. Not always so: it takes time."""
    own = nn.Module.__getattr__

    def read(self: WeightHolder, name: str) -> Any:
        if name in self.__dict__.get("_parameters", ()) or name in self.__dict__.get("_buffers", ()):
            watch.sync_before_read()
        return own(self, name)

    WeightHolder.__getattr__ = read  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del WeightHolder.__getattr__


@contextmanager
def cast_weights(holders: Sequence[WeightHolder], dtype: torch.dtype) -> Iterator[None]:
    """Within the block, the float parameters of `holders` read as `dtype`; gradients reach the parameters themselves."""
    kept = [holder._parameters for holder in holders]
    try:
        for holder in holders:
            holder.__dict__["_parameters"] = {
                name: p if p is None or name in holder._kept_dtype or not p.is_floating_point() else p.to(dtype)
                for name, p in holder._parameters.items()
            }
        yield
    finally:
        for holder, parameters in zip(holders, kept, strict=True):
            holder.__dict__["_parameters"] = parameters
