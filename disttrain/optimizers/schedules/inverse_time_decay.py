"""Decay of the learning rate with the inverse of time."""

from __future__ import annotations

import math
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule, check_decay_steps


class InverseTimeDecay(LearningRateSchedule):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`; with `staircase` the quotient of steps is rounded down.

    Example:
        >>> InverseTimeDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
        0.05
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False, name: str = "InverseTimeDecay"
    ) -> None:
        check_decay_steps("InverseTimeDecay", decay_steps)
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name

    def __call__(self, step: int) -> float:
        time = step / self.decay_steps
        return float(self.initial_learning_rate / (1.0 + self.decay_rate * (math.floor(time) if self.staircase else time)))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }
