"""Optimizers by name, and their configs."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch

from disttrain.optimizers.adadelta import Adadelta
from disttrain.optimizers.adafactor import Adafactor
from disttrain.optimizers.adagrad import Adagrad
from disttrain.optimizers.adam import Adam
from disttrain.optimizers.adamax import Adamax
from disttrain.optimizers.adamw import AdamW
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.ftrl import Ftrl
from disttrain.optimizers.lamb import Lamb
from disttrain.optimizers.lion import Lion
from disttrain.optimizers.muon import Muon
from disttrain.optimizers.nadam import Nadam
from disttrain.optimizers.rmsprop import RMSprop
from disttrain.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from disttrain.optimizers.sgd import SGD
from disttrain.optimizers.torch_optimizer import TorchOptimizer

BY_NAME: dict[str, type[Optimizer]] = {
    "adadelta": Adadelta,
    "adafactor": Adafactor,
    "adagrad": Adagrad,
    "adam": Adam,
    "adamax": Adamax,
    "adamw": AdamW,
    "ftrl": Ftrl,
    "lamb": Lamb,
    "lion": Lion,
    "muon": Muon,
    "nadam": Nadam,
    "rmsprop": RMSprop,
    "schedulefreeadamw": ScheduleFreeAdamW,
    "sgd": SGD,
}


def get(identifier: Any, custom_objects: dict[str, Any] | None = None) -> Optimizer | None:
    """An optimizer from a name in any case (`"adam"`, `"Adam"`), a config dict, a class or an instance; None stays None.

    Args:
        identifier: what stands for the optimizer; a config's module is not looked at, so that of any Keras backend will do. An instance
            of one of `torch.optim` becomes a `TorchOptimizer`.
        custom_objects: your own optimizers and schedules, by class name or registered name.

    Raises:
        ValueError: nothing is known by that name (the valid ones are listed, nearest first), or it is a class of torch's.
        UsageError: it is torch's optimizer, and needs a closure.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _made(_named(identifier, custom_objects))
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        return deserialize(identifier, custom_objects)
    if inspect.isclass(identifier) and issubclass(identifier, Optimizer):
        return _made(identifier)
    if isinstance(identifier, torch.optim.Optimizer):
        return TorchOptimizer(identifier)
    if inspect.isclass(identifier) and issubclass(identifier, torch.optim.Optimizer):
        raise ValueError(_without_parameters(identifier))
    raise ValueError(f"optimizer={identifier!r}: expected a name, an Optimizer, or a config with 'class_name' and 'config'.")


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The config dict of an optimizer, in the words of a `.keras` file."""
    cls = type(optimizer)
    ours = BY_NAME.get(cls.__name__.lower()) is cls
    return {
        "module": "keras.optimizers" if ours else cls.__module__,
        "class_name": cls.__name__,
        "config": optimizer.get_config(),
        "registered_name": None if ours else cls.__name__,
    }


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """The inverse of `serialize`; reads Keras's configs too. Raises as `get` does."""
    registered = str(config.get("registered_name"))
    cls = (custom_objects or {}).get(registered) or _named(str(config["class_name"]), custom_objects)
    settings = dict(config.get("config") or {})
    more = {"custom_objects": custom_objects} if "custom_objects" in _arguments(cls.from_config) else {}
    made: Optimizer = cls.from_config(settings, **more)
    return made


def _named(name: str, custom_objects: dict[str, Any] | None = None) -> Any:
    known = {**BY_NAME, **(custom_objects or {})}
    found = known.get(name) or known.get(name.lower())
    if found is None:
        nearest = difflib.get_close_matches(name.lower(), known, n=len(known), cutoff=0.0)
        raise ValueError(f"optimizer={name!r}: no such optimizer.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


def _made(cls: Any) -> Optimizer:
    missing = [p.name for p in _arguments(cls).values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if missing:
        raise ValueError(f"optimizer={cls.__name__!r}: it needs {missing[0]}; pass {cls.__name__}({missing[0]}=...) itself.")
    made: Optimizer = cls()
    return made


def _arguments(function: Any) -> Any:
    return inspect.signature(function).parameters


def _without_parameters(cls: Any) -> str:
    nearest = difflib.get_close_matches(cls.__name__.lower(), BY_NAME, n=1, cutoff=0.0)[0]
    return (
        f"optimizer={cls.__module__}.{cls.__name__}: torch's optimizers hold the parameters that they change, and a class holds none.\n"
        f"  expected  torch.optim.{cls.__name__}(model.parameters(), lr=...), or one of disttrain.optimizers\n"
        f"  try       disttrain.optimizers.{BY_NAME[nearest].__name__}()"
    )
