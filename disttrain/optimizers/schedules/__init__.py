"""Schedules: learning rates as pure functions of the step, so that a resumed run has no state of theirs to lose."""

from __future__ import annotations

import difflib
from typing import Any

from disttrain.identifiers import no_such_name
from disttrain.optimizers.schedules.base import LearningRateSchedule
from disttrain.optimizers.schedules.cosine_decay import CosineDecay
from disttrain.optimizers.schedules.cosine_decay_restarts import CosineDecayRestarts
from disttrain.optimizers.schedules.exponential_decay import ExponentialDecay
from disttrain.optimizers.schedules.inverse_time_decay import InverseTimeDecay
from disttrain.optimizers.schedules.piecewise_constant_decay import PiecewiseConstantDecay
from disttrain.optimizers.schedules.polynomial_decay import PolynomialDecay

BY_NAME: dict[str, type[LearningRateSchedule]] = {
    "CosineDecay": CosineDecay,
    "CosineDecayRestarts": CosineDecayRestarts,
    "ExponentialDecay": ExponentialDecay,
    "InverseTimeDecay": InverseTimeDecay,
    "PiecewiseConstantDecay": PiecewiseConstantDecay,
    "PolynomialDecay": PolynomialDecay,
}


def get(identifier: Any, custom_objects: dict[str, Any] | None = None) -> LearningRateSchedule:
    """A schedule from an instance or a config dict `{"class_name": ..., "config": {...}}`.

    Args:
        identifier: the instance or config; a config's module is not looked at.
        custom_objects: your own classes, by class name or registered name.

    Raises:
        ValueError: no schedule has that class name; the valid ones are listed, nearest first.
    """
    if isinstance(identifier, LearningRateSchedule):
        return identifier
    if not isinstance(identifier, dict) or "class_name" not in identifier:
        raise ValueError(f"learning_rate={identifier!r}: expected a LearningRateSchedule, or its config with 'class_name' and 'config'.")
    known = {**BY_NAME, **(custom_objects or {})}
    name = str(identifier["class_name"])
    found = known.get(name) or known.get(str(identifier.get("registered_name")))
    if found is None:
        nearest = difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)
        raise ValueError(
            f"learning_rate={name!r}: no such schedule.\n  expected  one of {', '.join(nearest)}, nearest first\n"
            f"  try       custom_objects={{{name!r}: ...}} for a schedule of your own"
        )
    schedule: LearningRateSchedule = found.from_config(dict(identifier.get("config") or {}))
    return schedule


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The config dict of a schedule, in the words of a `.keras` file."""
    cls = type(learning_rate_schedule)
    ours = BY_NAME.get(cls.__name__) is cls
    return {
        "module": "keras.optimizers.schedules" if ours else cls.__module__,
        "class_name": cls.__name__,
        "config": learning_rate_schedule.get_config(),
        "registered_name": None if ours else cls.__name__,
    }


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> LearningRateSchedule:
    """The inverse of `serialize`; reads Keras's configs too. Raises as `get` does."""
    return get(config, custom_objects)


__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "get",
    "serialize",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.optimizers.schedules", name, __all__)
