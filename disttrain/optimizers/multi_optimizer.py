"""Several optimizers in one, each for its own weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.errors import UsageError
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.keras_variables import Entry
from disttrain.optimizers.loss_scale_optimizer import LossScaleOptimizer
from disttrain.optimizers.registry import deserialize, serialize


class OptimizerMap(MutableMapping[str, Optimizer]):
    """Which optimizer a weight has: by its path, such as `"sequential/dense/kernel"`, or by a regular expression that is the whole of it,
    such as `".*encoder/.*"`.

    Args:
        default_optimizer: that of weights which nothing else names.
        optimizer_map: `{path or pattern: optimizer}`.
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None) -> None:
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(f"default_optimizer must be a Keras Optimizer instance. Received: {default_optimizer}")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"optimizer_map must be a dictionary. Received: {optimizer_map}")
        self.default_optimizer = default_optimizer
        self._named: dict[str, Optimizer] = {}
        for key, optimizer in (optimizer_map or {}).items():
            self[key] = optimizer

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._named:
            return self._named[key]
        found = [pattern for pattern in self._named if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(f"Multiple optimizers assigned to variable {key}: by {', '.join(map(repr, found))}.")
        return self._named[found[0]] if found else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if not isinstance(key, str):
            raise ValueError(f"key must be a string. Received: {key}")
        if key in self._named:
            raise ValueError(f"'{key}' already exists in the OptimizerMap with value {self._named[key]}: delete it first.")
        self._named[key] = _checked(optimizer, f"of {key!r}")

    def __delitem__(self, key: str) -> None:
        del self._named[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __call__(self, variable: Any) -> Optimizer:
        return self[variable.path]

    def get_config(self) -> dict[str, Any]:
        """What rebuilds it."""
        return {
            "default_optimizer": serialize(self.default_optimizer),
            "optimizer_map": {key: serialize(optimizer) for key, optimizer in self._named.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> OptimizerMap:
        """The inverse of `get_config`."""
        named = {key: deserialize(one, custom_objects) for key, one in config["optimizer_map"].items()}
        return cls(deserialize(config["default_optimizer"], custom_objects), named)


class MultiOptimizer(Optimizer):
    """Gives each weight to one of several optimizers, with rates, slots and counts of their own.

    Args:
        optimizer_map: an `OptimizerMap`, or a function that gives the optimizer of a weight (a weight has a `path`). The same optimizer
            for several weights is one, and takes their gradients together: its clipping by a global norm sees those.
        loss_scale_factor: as for other optimizers; stands for those of the optimizers within.

    State, as Keras orders it: a count, a rate that nobody uses, then the variables of each optimizer within.

    Example:
        >>> from disttrain.optimizers import SGD, Adam
        >>> both = MultiOptimizer(OptimizerMap(SGD(0.1), {".*encoder/.*": Adam()}))
        >>> [optimizer.name for optimizer in both.optimizers]
        ['adam', 'sgd']
    """

    elementwise = False

    def __init__(
        self,
        optimizer_map: OptimizerMap | Callable[[Any], Optimizer],
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(optimizer_map):
            raise ValueError(
                f"MultiOptimizer(optimizer_map={optimizer_map!r}): expected an OptimizerMap, or a function of a weight.\n"
                "  try       OptimizerMap(SGD(0.1), {'.*encoder/.*': Adam()})"
            )
        self._optimizer_map = optimizer_map
        self._inner: list[Optimizer] = []
        self._chosen: dict[tuple[int, str], int] = {}  # (place, path) of a weight: the number of its optimizer
        self._places: list[list[int]] = []  # for each optimizer, those of its weights in `build`
        self._waiting: dict[str, Any] | None = None  # a state that came before the weights
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map._named.values(), optimizer_map.default_optimizer):
                self._number_of(_checked(optimizer, "in the map"))
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)

    def _number_of(self, optimizer: Optimizer) -> int:
        for number, known in enumerate(self._inner):
            if known is optimizer:
                return number
        self._inner.append(optimizer)
        return len(self._inner) - 1

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers within: those of the map in its order, the default last; of a function, in the order of the weights."""
        return self._inner

    # -- what stands for all of them ------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """There is none for all: an AttributeError, as in Keras."""
        raise AttributeError(
            "Learning rate cannot be accessed on a MultiOptimizer. Access the learning rate on the individual sub-optimizers instead: "
            "optimizer.optimizers[0].learning_rate"
        )

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            "Learning rate cannot be set on a MultiOptimizer. Set the learning rate on the individual sub-optimizers instead: "
            "optimizer.optimizers[0].learning_rate = ..."
        )

    @property
    def loss_scale_factor(self) -> float | None:
        """What `scale_loss` multiplies by, and each optimizer within divides by."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for optimizer in self._inner:
            optimizer.loss_scale_factor = value

    @property
    def needs_variables(self) -> bool:
        return True

    # -- state ----------------------------------------------------------------------------------------------------------------------

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        self._places = [[] for _ in self._inner]
        for place, param in enumerate(params):
            key = (place, str(getattr(param, "path", place)))
            number = self._chosen.get(key)
            if number is None:
                number = self._chosen[key] = self._number_of(_checked(self._optimizer_map(param), f"of {key[1]}"))
                self._inner[number].loss_scale_factor = self.loss_scale_factor
            self._places += [[] for _ in range(len(self._inner) - len(self._places))]
            self._places[number].append(place)
        for optimizer, places in zip(self._inner, self._places, strict=True):
            optimizer.build([params[place] for place in places], None if names is None else [names[place] for place in places])
        self._weights, self._built = len(params), True
        self._tell_of_idle_patterns(params)
        self.slot_names = tuple(self.slots)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.load_state_dict(waiting)

    def _tell_of_idle_patterns(self, params: Sequence[Tensor]) -> None:
        paths = [param.path for param in params if hasattr(param, "path")]
        for key in self._optimizer_map if paths and isinstance(self._optimizer_map, OptimizerMap) else ():
            if not any(key == path or re.fullmatch(key, path) for path in paths):
                shown = f"{', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}"
                warnings.warn(f"OptimizerMap: {key!r} is the path of no weight that is trained; paths are {shown}", stacklevel=2)

    @property
    def slots(self) -> Slots:
        """Those of the optimizers within as `<number of the optimizer>.<slot>`, empty for weights of the others."""
        found: Slots = {}
        for number, places in enumerate(self._places):
            for slot, tensors in self._inner[number].slots.items():
                rows = found[f"{number}.{slot}"] = [torch.zeros(0) for _ in range(self._weights)]
                for place, tensor in zip(places, tensors, strict=True):
                    rows[place] = tensor
        return found

    @slots.setter
    def slots(self, value: Slots) -> None:
        for number, places in enumerate(self._places):
            optimizer = self._inner[number]
            optimizer.slots = {slot: [value[f"{number}.{slot}"][place] for place in places] for slot in optimizer.slots}

    def state_dict(self) -> dict[str, Any]:
        return {"iterations": self.calls, "learning_rate": None, "optimizers": [optimizer.state_dict() for optimizer in self._inner]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = int(state["iterations"])
        if not self._built and len(state["optimizers"]) != len(self._inner):
            self._waiting = state  # a function has not been asked yet
            return
        for optimizer, own in zip(self._inner, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)

    def entries(self) -> list[Entry]:
        found = [
            Entry("iteration", torch.tensor(self.calls, dtype=torch.int32), lambda value: setattr(self, "calls", int(value))),
            Entry("learning_rate", torch.zeros(()), lambda value: None),
        ]
        for number, optimizer in enumerate(self._inner):
            places = self._places[number] if self._built else []
            for entry in optimizer.entries():
                slot, slash, place = entry.name.partition("/")
                found.append(Entry(f"{number}.{slot}" + (f"/{places[int(place)]}" if slash else ""), entry.value, entry.write))
        return found

    # -- one update -----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def apply_to(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        slots: Slots | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        if not self._built:
            self.build(params)
        slots = self.slots if slots is None else slots
        here = {place: index for index, place in enumerate(range(len(params)) if numbers is None else numbers)}
        if numbers is None and len(params) != self._weights:
            raise ValueError(
                f"Gradients must match trainable variables one-to-one. Received {len(grads)} gradients and {self._weights} variables."
            )
        if params and all(grad is None for grad in grads):
            raise ValueError(
                "MultiOptimizer.apply: No gradients provided for any variable.\n  expected  a loss that depends on the weights"
            )
        for number, (optimizer, places) in enumerate(zip(self._inner, self._places, strict=True)):
            own = [(place_within, here[place]) for place_within, place in enumerate(places) if place in here]
            given = [grads[index] for _, index in own]
            if all(grad is None for grad in given):
                continue  # nothing for it to do in this step
            within = {slot: [slots[f"{number}.{slot}"][index] for _, index in own] for slot in optimizer.slots}
            optimizer.apply_to([params[index] for _, index in own], given, within, [place for place, _ in own])
        self.calls += 1

    @torch.no_grad()
    def finalize_variable_values(self, params: Sequence[Tensor], slots: Slots | None = None) -> None:
        for number, (optimizer, places) in enumerate(zip(self._inner, self._places, strict=True)):
            within = None if slots is None else {slot: [slots[f"{number}.{slot}"][place] for place in places] for slot in optimizer.slots}
            optimizer.finalize_variable_values([params[place] for place in places], within)

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None, var_names: Sequence[str] | None = None) -> None:
        raise UsageError("a MultiOptimizer decays nothing itself.\n  try  optimizer.optimizers[0].exclude_from_weight_decay(...)")

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        if not isinstance(self._optimizer_map, OptimizerMap):
            raise UsageError("a MultiOptimizer with a function has no config.\n  try  an OptimizerMap, whose patterns a file can hold")
        config = {"module": "keras.optimizers", "class_name": "OptimizerMap", "config": self._optimizer_map.get_config()}
        return {"optimizer_map": {**config, "registered_name": None}, "loss_scale_factor": self.loss_scale_factor, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> MultiOptimizer:
        config = dict(config)
        if isinstance(config.get("optimizer_map"), dict):
            config["optimizer_map"] = OptimizerMap.from_config(config["optimizer_map"]["config"], custom_objects)
        return cls(**config)

    def __repr__(self) -> str:
        return f"<MultiOptimizer iterations={self.calls} optimizers={self._inner!r}>"


def _checked(optimizer: Any, which: str) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"MultiOptimizer: the optimizer {which} is {optimizer!r}, not an Optimizer instance.")
    if isinstance(optimizer, LossScaleOptimizer | MultiOptimizer):
        raise ValueError(f"optimizer cannot be {type(optimizer).__name__}. It cannot be used inside a MultiOptimizer ({which}).")
    return optimizer
