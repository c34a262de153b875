"""What callbacks see and change of a state that lies on the workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from disttrain import watch
from disttrain.host_numbers import plain, tensor_of
from disttrain.layers.weight_holder import watched_attributes
from disttrain.training.step.optimizer_slots import arrange_slots, slots_by_weight, trained_weights
from disttrain.training.step.step_owners import counting_in, optimizers_of

if TYPE_CHECKING:
    from disttrain.controller.loop import Controller
    from disttrain.rundir.resume import ResumePoint


class RemoteState:
    """Brings the driver's model and optimizers up to date when a callback looks at them, and tells what the callback changed.

    Weights are fetched when weights are looked at, slots when slots are, once for each boundary. Before the first step the driver's own
    are the newest, or those of the checkpoint to go on from; slots that are not there yet are made then, as they are in one process.
    """

    def __init__(self, model: Any, controller: Callable[[], Controller]) -> None:
        self._model, self._controller = model, controller
        self._pulled: dict[str, np.ndarray] = {}
        self._looked: set[str] = set()
        self._counters: dict[str, dict[str, Any]] = {}
        self._resumed: ResumePoint | None = None  # the checkpoint to go on from, while the state is that of it

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch inside the block."""
        self._thread = threading.get_ident()
        watch.on_read(self._fetch)
        try:
            with watched_attributes():
                yield
        finally:
            watch.on_read(None)

    def resume(self) -> None:
        """Until the first boundary the state is that of the checkpoint that the call goes on from."""
        self._resumed, self._looked = self._controller().resume, set()
        assert self._resumed is not None
        meta, counting = self._resumed.extra["meta"], counting_in(self._model)
        for name, counters in {"optimizer": meta["optimizer"], **meta.get("other_optimizers", {})}.items():
            if counters and name in counting:
                counting[name].load_state_dict(counters)

    def begin(self) -> None:
        """The hooks of a boundary are about to run; what those of one that was given up have left is void."""
        self._resumed = None
        self._pulled, self._looked = {}, set()
        self._counters = self._state_dicts()

    def counters(self) -> dict[str, dict[str, Any]] | None:
        """The counters of optimizers that the hooks changed, as another fit inside one does."""
        return {name: now for name, now in self._state_dicts().items() if now != self._counters.get(name)} or None

    def finalize(self) -> None:
        """Do here what `Replica.finalize` will do on the workers, for the hooks that follow: averages take the place of the weights."""
        for name, optimizer in self._optimizers().items():
            if not getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False) or not optimizer.calls:
                continue
            if not self._controller().at_boundary:
                continue  # nothing was trained
            watch.sync_before_read("weights")
            watch.sync_before_read("slots")
            weights = dict(self._model.named_weights())
            prefix = f"{name}/average/"
            own = [weights[key.removeprefix(prefix)] for key in self._pulled if key.startswith(prefix)]
            if own:
                with self._unwatched(), torch.no_grad():
                    optimizer.finalize_variable_values(own)

    def changed(self) -> dict[str, np.ndarray] | None:
        """Weights and slots, by the names of `Replica.state_dict`, that the hooks of this boundary changed or gave to other weights."""
        pulled, self._pulled, looked, self._looked = self._pulled, {}, self._looked, set()
        if not looked:
            return None
        with self._unwatched():
            tensors = self._tensors([name for name in pulled if name.startswith("model/")])
            if "slots" in looked:
                tensors |= self._slots_now()
            now = {name: plain(tensor) for name, tensor in tensors.items()}
        return {
            name: value.copy() for name, value in now.items() if name not in pulled or value.tobytes() != pulled[name].tobytes()
        } or None

    def _slots_now(self) -> dict[str, Tensor]:
        """The slots of all optimizers; those of the model's own belong to the weights that are trained from now on."""
        model = self._model
        found: dict[str, Tensor] = {}
        if model.optimizer is not None and model.optimizer.built and "train_step" not in model.overridden_steps():
            arrange_slots(model.optimizer, *trained_weights(model))
        for attribute, optimizer in self._optimizers().items():
            for slot, tensors in slots_by_weight(optimizer).items():
                found |= {f"{attribute}/{slot}/{weight}": tensor for weight, tensor in tensors.items()}
        return found

    def _fetch(self, what: watch.What) -> None:
        """Somebody looks."""
        controller = self._controller()
        if what in self._looked or threading.get_ident() != self._thread:
            return
        if not controller.at_boundary and self._resumed is None:
            if what == "slots":
                self._make_slots()
            return
        self._looked.add(what)
        arrays = controller.fetch(what) if self._resumed is None else self._resumed.state(what)
        self._pulled |= arrays
        with self._unwatched(), torch.no_grad():
            for name, tensor in self._tensors(list(arrays)).items():
                tensor.copy_(tensor_of(arrays[name]))
            if what == "slots":
                owners = {_parts(name)[0] for name in arrays}
                for attribute, optimizer in self._optimizers().items():
                    if attribute not in owners and slots_by_weight(optimizer):
                        arrange_slots(optimizer, [], [])  # all its weights are frozen, so the workers keep none

    def _make_slots(self) -> None:
        """Make the slots of the model's optimizer if a step will use them and they are not there."""
        with self._unwatched():
            model = self._model
            optimizer = model.optimizer
            if optimizer is None or optimizer.built or "train_step" in model.overridden_steps():
                return
            arrange_slots(optimizer, *trained_weights(model))

    def _optimizers(self) -> dict[str, Any]:
        return optimizers_of(self._model)

    def _state_dicts(self) -> dict[str, dict[str, Any]]:
        return {name: optimizer.state_dict() for name, optimizer in counting_in(self._model).items()}

    def _tensors(self, names: list[str]) -> dict[str, Tensor]:
        """The driver's own tensors of these names; an optimizer that lacks its slots makes them."""
        weights = dict(self._model.named_weights())
        found = {name: weights[name.removeprefix("model/")] for name in names if name.startswith("model/")}
        owned: dict[str, list[str]] = {}  # the weights of each optimizer
        for name in names:
            attribute, slot, weight = _parts(name)
            if slot:
                known = owned.setdefault(attribute, [])
                if weight not in known:
                    known.append(weight)
        places = {id(weight): place for place, weight in enumerate(self._model.parameters())}
        for attribute, order in owned.items():
            order.sort(key=lambda weight: places[id(weights[weight])])  # a checkpoint has them in another
            optimizer = self._optimizers()[attribute]
            arrange_slots(optimizer, [weights[weight] for weight in order], order)
            for slot, tensors in optimizer.slots.items():
                found |= {f"{attribute}/{slot}/{weight}": tensor for weight, tensor in zip(order, tensors, strict=True)}
        return {name: found[name] for name in names}

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        watch.on_read(None)
        try:
            yield
        finally:
            watch.on_read(self._fetch)


def _parts(name: str) -> tuple[str, str, str]:
    """(attribute of the model, slot, weight) of a slot's name; ("model", "", weight) of a weight's."""
    attribute, rest = name.split("/", 1)
    if attribute == "model":
        return attribute, "", rest
    slot, weight = rest.split("/", 1)
    return attribute, slot, weight
