"""Optimizers: how gradients change weights. `get` finds one by name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from disttrain.optimizers import schedules
from disttrain.optimizers.adagrad import Adagrad
from disttrain.optimizers.adam import Adam
from disttrain.optimizers.adamw import AdamW
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.lion import Lion
from disttrain.optimizers.rmsprop import RMSprop
from disttrain.optimizers.sgd import SGD

BY_NAME: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
    "rmsprop": RMSprop,
    "sgd": SGD,
}


def get(identifier: Any) -> Optimizer | None:
    """An optimizer from a name in any case (`"adam"`, `"Adam"`), a config dict, a class or an instance; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()  # type: ignore[call-arg]
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        return _named(identifier["class_name"]).from_config(identifier.get("config", {}))
    if inspect.isclass(identifier) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    raise ValueError(f"optimizer={identifier!r}: expected a name, an Optimizer, or a config with 'class_name' and 'config'.")


def _named(name: str) -> type[Optimizer]:
    found = BY_NAME.get(name.lower())
    if found is None:
        nearest = difflib.get_close_matches(name.lower(), BY_NAME, n=len(BY_NAME), cutoff=0.0)
        raise ValueError(f"optimizer={name!r}: no such optimizer.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop", "get", "schedules"]
