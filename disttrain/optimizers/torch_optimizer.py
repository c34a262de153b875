"""An optimizer of `torch.optim` as one of ours: its own update, with its state where checkpoints and other workers find it."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from disttrain import watch
from disttrain.errors import UsageError
from disttrain.identifiers import to_snake_case
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.live_numbers import Rate
from disttrain.optimizers.plain_values import like, plain, same_as
from disttrain.optimizers.torch_scheduler import TorchScheduler, check_scheduler

Started = list[list[Any]]
"""`[[{counter: number}, weights], ...]`: what torch counts for the weights that it has updated; None for all of them."""


class TorchOptimizer(Optimizer):
    """What `compile(optimizer=torch.optim.Adam(model.parameters()))` makes of its argument, and the runtime of one that a step uses.

    The update is torch's. Its state for each weight lies in `slots` if it has the size of more than one number; numbers, such as a count
    of steps, and the parameter groups are in `state_dict`. Weights that the optimizer does not hold are left alone.

    Args:
        optimizer: torch's, made with the parameters of the model.
        scheduler: of torch or of a library built on it, for this optimizer: steps once after each update, on every worker alike.

    Raises:
        UsageError: its `step` needs a closure, or sparse gradients; the scheduler is another optimizer's, or waits for a measured value.
    """

    elementwise = False

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: Any = None) -> None:
        refuse_closures(optimizer)
        self.torch_optimizer, self.scheduler = optimizer, None
        if scheduler is not None:
            check_scheduler(scheduler, optimizer)
            self.scheduler = TorchScheduler(scheduler)
        self._names: list[str] | None = None  # of the weights of `build`
        self._params: list[Tensor] = []
        self._waiting: Started | None = None  # of a state that came before the weights
        self._rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
        super().__init__(self._rates[0] if self._rates else 0.0, name=to_snake_case(type(optimizer).__name__))
        self.real_step: Callable[[], Any] | None = None  # while a step of the script's own stops at `step`

    def __getattr__(self, name: str) -> Any:
        optimizer = self.__dict__.get("torch_optimizer")
        if optimizer is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(optimizer, name)  # param_groups, state, zero_grad, step ...

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "real_step": None}

    def holds(self) -> list[nn.Parameter]:
        """The parameters of all its groups."""
        return [param for group in self.torch_optimizer.param_groups for param in group["params"]]

    # -- the learning rate ----------------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Rate:
        """That of the first group. To set it moves those of the others in proportion."""
        rate: Rate = Rate(self)
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value):
            raise TypeError(
                f"learning_rate={value!r}: {type(self.torch_optimizer).__name__} of torch takes numbers.\n"
                "  try       a scheduler of torch.optim.lr_scheduler, stepped in a callback or in train_step"
            )
        rate, before = float(value), self.current_learning_rate()
        for group, first in zip(self.torch_optimizer.param_groups, self._rates, strict=False):
            now = float(group["lr"])
            ratio = now / before if before else (first / self._rates[0] if self._rates[0] else 1.0)
            group["lr"] = like(group["lr"], rate if ratio == 1.0 else rate * ratio)

    def current_learning_rate(self) -> float:
        groups = self.torch_optimizer.param_groups
        return float(groups[0].get("lr", 0.0)) if groups else 0.0

    # -- state ----------------------------------------------------------------------------------------------------------------------

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        """Make room for the state of `params`: what torch has of it stays, what it will make at the first update is tried out."""
        optimizer, held = self.torch_optimizer, {id(param) for param in self.holds()}
        started = [id(param) in held and bool(optimizer.state.get(param)) for param in params]
        kept = {id(param) for param in params}
        for param in [param for param in optimizer.state if id(param) not in kept]:
            del optimizer.state[param]  # of a weight that is frozen, as all workers drop it
        groups = {id(param): group for group in optimizer.param_groups for param in group["params"]}
        states = [self._state_to_be(param, groups[id(param)]) if id(param) in held else {} for param in params]
        slots = sorted({name for state in states for name, value in state.items() if _is_slot(value)})
        self._slots = {name: [_room(state.get(name), started[n]) for n, state in enumerate(states)] for name in slots}
        self._params, self._names, self._built = list(params), list(names or map(str, range(len(params)))), True
        self.slot_names = tuple(slots)
        self._take()
        if self._waiting is not None:
            self._begin(self._waiting)
            self._waiting = None

    def _state_to_be(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """torch's state of a parameter, or what an update of one like it makes."""
        found: dict[str, Any] = dict(self.torch_optimizer.state.get(param) or {})
        if not found:
            trial, probe = copy.copy(self.torch_optimizer), nn.Parameter(param.detach().clone())
            probe.grad = torch.zeros_like(probe)
            trial.param_groups, trial.state = [{**copy.copy(group), "params": [probe]}], defaultdict(dict)
            type(self.torch_optimizer).step(trial)
            found = dict(trial.state.get(probe) or {})
        for name, value in found.items():
            if not (isinstance(value, Tensor | bool | int | float) or value is None) or getattr(value, "is_sparse", False):
                raise UsageError(
                    f"{type(self.torch_optimizer).__name__} keeps {name!r} of each weight, a {type(value).__name__}.\n"
                    "  expected  tensors and numbers, which checkpoints and workers can take over\n"
                    "  try       another optimizer of torch.optim, or one of disttrain.optimizers"
                )
        return found

    def _take(self) -> None:
        """Let torch's state of each weight lie in the slots: torch makes it anew at the first update, and some rules later."""
        for place, param in enumerate(self._params):
            state = self.torch_optimizer.state.get(param)
            if not state:
                continue
            for name, value in state.items():
                if _is_slot(value):
                    slot = self._slots[name][place]
                    if value is not slot:
                        with torch.no_grad():
                            slot.copy_(value)
                        state[name] = slot

    def state_dict(self) -> dict[str, Any]:
        """Everything but the slots, in JSON types: the parameter groups' settings, and what torch counts."""
        groups = [{name: plain(value) for name, value in group.items() if name != "params"} for group in self.torch_optimizer.param_groups]
        started = self._started() if self._built else self._waiting
        counted = {} if self.scheduler is None else {"scheduler": self.scheduler.state_dict()}
        rate = self.current_learning_rate()
        return {"iterations": self.calls, "learning_rate": rate, "groups": groups, "started": started or [], **counted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; what it says of weights waits for `build`, where that is to come. torch's own form is taken too."""
        if "param_groups" in state:
            self._load_from_torch(state)
            return
        self.calls = int(state["iterations"])
        for group, settings in zip(self.torch_optimizer.param_groups, state.get("groups", ()), strict=False):
            group.update({name: like(group.get(name), value) for name, value in settings.items()})
        if self.scheduler is not None and "scheduler" in state:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.calls:
            self.torch_optimizer._opt_called = True  # type: ignore[attr-defined]  # a scheduler asks whether updates come before it
        if "started" in state:
            if self._built:
                self._begin(state["started"])
            else:
                self._waiting = state["started"]

    def _load_from_torch(self, state: dict[str, Any]) -> None:
        self.torch_optimizer.load_state_dict(
            copy.deepcopy(state)
        )  # torch takes the tensors themselves, and another optimizer may hold them
        self.calls = max((int(one["step"]) for one in state["state"].values() if "step" in one), default=self.calls)
        if self._built:
            self._take()

    def _started(self) -> Started:
        found: Started = []
        places = [place for place, param in enumerate(self._params) if self.torch_optimizer.state.get(param)]
        assert self._names is not None
        for place in places:
            state = self.torch_optimizer.state[self._params[place]]
            counters = {name: plain(value) for name, value in sorted(state.items()) if not _is_slot(value)}
            same = next((entry for entry in found if same_as(entry[0], counters)), None)
            if same is None:
                found.append([counters, [self._names[place]]])
            else:
                same[1].append(self._names[place])
        if len(found) == 1 and len(places) == len(self._params):
            found[0][1] = None
        return found

    def _begin(self, started: Started) -> None:
        """Give torch the state of the weights that it has updated; to the others, none."""
        assert self._names is not None
        counters: dict[str, dict[str, Any]] = {}
        for numbers, names in started:
            named: list[str] = self._names if names is None else names
            for name in named:
                counters[name] = numbers
        groups = {id(param): group for group in self.torch_optimizer.param_groups for param in group["params"]}
        for place, (param, name) in enumerate(zip(self._params, self._names, strict=True)):
            present = self.torch_optimizer.state.get(param) or {}
            if name not in counters:
                if present:
                    del self.torch_optimizer.state[param]
                continue
            if id(param) not in groups:
                continue
            made = {slot: tensors[place] for slot, tensors in self._slots.items() if tensors[place].numel() or not param.numel()}
            known = present or self._state_to_be(param, groups[id(param)])
            self.torch_optimizer.state[param] = {
                slot: made[slot] if slot in made else like(value, counters[name].get(slot)) for slot, value in known.items()
            }

    @property
    def slots(self) -> Slots:
        watch.sync_before_read("slots")
        if self._built:
            self._take()
        return self._slots

    @slots.setter
    def slots(self, slots: Slots) -> None:
        self._slots = slots

    # -- one update -----------------------------------------------------------------------------------------------------------------

    @property
    def needs_variables(self) -> bool:
        return True

    @torch.no_grad()
    def apply_to(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        slots: Slots | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """One `step` of torch's with these gradients; parameters without one are left alone, whatever gradients they have themselves."""
        if not self._built:
            self.build(params)
        given, held = {id(param): grad for param, grad in zip(params, grads, strict=True)}, self.holds()
        before = [param.grad for param in held]
        try:
            for param in held:
                param.grad = given.get(id(param))
            (self.torch_optimizer.step if self.real_step is None else self.real_step)()
        finally:
            for param, grad in zip(held, before, strict=True):
                param.grad = grad
        self._take()
        self.calls += 1
        if self.scheduler is not None:
            self.scheduler.step(None)

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None, var_names: Sequence[str] | None = None) -> None:
        raise UsageError("torch's optimizers decay by group.\n  try  torch.optim.AdamW([{'params': ..., 'weight_decay': 0.0}, ...])")

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """torch's class and the settings of each group. There is no way back: it holds parameters, which a config cannot."""
        return {"name": self.name, "of_torch": type(self.torch_optimizer).__name__, "groups": self.state_dict()["groups"]}

    def __repr__(self) -> str:
        return f"<TorchOptimizer {type(self.torch_optimizer).__name__} iterations={self.calls}>"


def refuse_closures(optimizer: Any) -> None:
    """Raise for an optimizer whose `step` cannot do with the gradients that are there."""
    name = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UsageError(
            f"torch.optim.{name} evaluates the loss several times in one step, by a closure: that is not available here.\n"
            "  expected  an optimizer that updates by the gradients of one backward pass, such as torch.optim.Adam"
        )
    if name == "SparseAdam":
        raise UsageError("torch.optim.SparseAdam needs sparse gradients, and sums over slices are dense.\n  try       torch.optim.Adam")


def torch_optimizers_in(values: Iterable[Any]) -> list[torch.optim.Optimizer]:
    """Those among `values`."""
    return [value for value in values if isinstance(value, torch.optim.Optimizer)]


def _is_slot(value: Any) -> bool:
    """Is it a state with the size of something, no count?"""
    return isinstance(value, Tensor) and value.ndim > 0


def _room(value: Any, started: bool) -> Tensor:
    if not _is_slot(value):
        return torch.zeros(0)
    room: Tensor = value.detach() if started else torch.zeros_like(value.detach())
    return room
