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
from disttrain.layers.weight_holder import watched_attributes

if TYPE_CHECKING:
    from disttrain.launch.conductor import Conductor


class StateWatch:
    """Brings the driver's model and optimizers up to date when a callback looks at them, and tells what the callback changed.

    Weights are fetched when weights are looked at, slots when slots are, once for each boundary.
    """

    def __init__(self, model: Any, conductor: Callable[[], Conductor]) -> None:
        self._model, self._conductor = model, conductor
        self._pulled: dict[str, np.ndarray] = {}
        self._looked: set[str] = set()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch inside the block."""
        self._thread = threading.get_ident()
        watch.on_look(self._fetch)
        try:
            with watched_attributes():
                yield
        finally:
            watch.on_look(None)

    def changed(self) -> dict[str, np.ndarray] | None:
        """Weights and slots, by the names of `Engine.arrays`, that the hooks of this boundary changed."""
        pulled, self._pulled, self._looked = self._pulled, {}, set()
        if not pulled:
            return None
        with self._unwatched():
            now = {name: tensor.detach().cpu().numpy() for name, tensor in self._tensors(list(pulled)).items()}
        return {name: value.copy() for name, value in now.items() if value.tobytes() != pulled[name].tobytes()} or None

    def _fetch(self, what: watch.What) -> None:
        """Somebody looks."""
        conductor = self._conductor()
        if what in self._looked or not conductor.at_boundary or threading.get_ident() != self._thread:
            return
        self._looked.add(what)
        arrays = conductor.fetch(what)
        self._pulled |= arrays
        with self._unwatched(), torch.no_grad():
            for name, tensor in self._tensors(list(arrays)).items():
                tensor.copy_(torch.tensor(arrays[name]))

    def _tensors(self, names: list[str]) -> dict[str, Tensor]:
        """The driver's own tensors of these names; an optimizer that lacks its slots makes them."""
        weights = dict(self._model.named_weights())
        found = {name: weights[name.removeprefix("model/")] for name in names if name.startswith("model/")}
        owned: dict[str, list[str]] = {}  # the weights of each optimizer, in its order
        for name in names:
            attribute, slot, weight = _parts(name)
            if slot:
                known = owned.setdefault(attribute, [])
                if weight not in known:
                    known.append(weight)
        for attribute, order in owned.items():
            optimizer = getattr(self._model, attribute)
            slots = optimizer.slots
            if not optimizer.built or any(len(tensors) != len(order) for tensors in slots.values()):
                optimizer.build([weights[weight] for weight in order], order)
            for slot, tensors in optimizer.slots.items():
                found |= {f"{attribute}/{slot}/{weight}": tensor for weight, tensor in zip(order, tensors, strict=True)}
        return {name: found[name] for name in names}

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        watch.on_look(None)
        try:
            yield
        finally:
            watch.on_look(self._fetch)


def _parts(name: str) -> tuple[str, str, str]:
    """(attribute of the model, slot, weight) of a slot's name; ("model", "", weight) of a weight's."""
    attribute, rest = name.split("/", 1)
    if attribute == "model":
        return attribute, "", rest
    slot, weight = rest.split("/", 1)
    return attribute, slot, weight
