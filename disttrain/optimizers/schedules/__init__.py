"""Schedules: learning rates as pure functions of the step, so that a resumed run has no state of theirs to lose."""

from __future__ import annotations

import difflib
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule
from disttrain.optimizers.schedules.cosine_decay import CosineDecay
from disttrain.optimizers.schedules.exponential_decay import ExponentialDecay
from disttrain.optimizers.schedules.inverse_time_decay import InverseTimeDecay
from disttrain.optimizers.schedules.piecewise_constant_decay import PiecewiseConstantDecay
from disttrain.optimizers.schedules.polynomial_decay import PolynomialDecay

BY_NAME: dict[str, type[LearningRateSchedule]] = {
    "CosineDecay": CosineDecay,
    "ExponentialDecay": ExponentialDecay,
    "InverseTimeDecay": InverseTimeDecay,
    "PiecewiseConstantDecay": PiecewiseConstantDecay,
    "PolynomialDecay": PolynomialDecay,
}


def get(identifier: Any) -> LearningRateSchedule:
    """A schedule from an instance or a config dict `{"class_name": ..., "config": {...}}`.

    Raises:
        ValueError: no schedule has that class name; the valid ones are listed, nearest first.
    """
    if isinstance(identifier, LearningRateSchedule):
        return identifier
    if not isinstance(identifier, dict) or "class_name" not in identifier:
        raise ValueError(f"learning_rate={identifier!r}: expected a LearningRateSchedule, or its config with 'class_name' and 'config'.")
    name = str(identifier["class_name"])
    if name not in BY_NAME:
        nearest = difflib.get_close_matches(name, BY_NAME, n=len(BY_NAME), cutoff=0.0)
        raise ValueError(f"learning_rate={name!r}: no such schedule.\n  expected  one of {', '.join(nearest)}, nearest first")
    return BY_NAME[name].from_config(identifier.get("config", {}))


__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "get",
]
