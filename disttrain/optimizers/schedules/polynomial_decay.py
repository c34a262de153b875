"""Polynomial decay of the learning rate."""

from __future__ import annotations

import math
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule, check_decay_steps


class PolynomialDecay(LearningRateSchedule):
    """`(initial - end) * (1 - step / decay_steps) ** power + end`, and `end` from `decay_steps` on.

    Args:
        power: 1 is a straight line.
        cycle: stretch `decay_steps` to its next multiple instead of staying at the end.

    Example:
        >>> round(PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5), 6)
        0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        check_decay_steps(self, decay_steps)
        self.initial_learning_rate, self.decay_steps, self.end_learning_rate = initial_learning_rate, decay_steps, end_learning_rate
        self.power, self.cycle, self.name = power, cycle, name

    def __call__(self, step: int) -> float:
        span = self.decay_steps
        if self.cycle:
            span *= math.ceil(step / self.decay_steps) if step else 1
        left = 1.0 - min(step, span) / span
        return float((self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }
