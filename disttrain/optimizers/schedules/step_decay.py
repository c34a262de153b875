"""What the schedules share that decay at a rate for each `decay_steps` steps."""

from __future__ import annotations

import math
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule, check_decay_steps


class StepDecay(LearningRateSchedule):
    """Base class: a subclass defines `decayed(periods)`, where `periods = step / decay_steps`, rounded down with `staircase`.

    Args:
        initial_learning_rate: the rate of step 0.
        decay_steps: length of a period, above 0.
        decay_rate: what happens to the rate in a period.
        staircase: the rate changes only from one period to the next.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False, name: str | None = None
    ) -> None:
        check_decay_steps(self, decay_steps)
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name

    def decayed(self, periods: float) -> float:
        """The rate after so many periods."""
        raise NotImplementedError(f"{type(self).__name__} must define decayed(self, periods).")

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        return float(self.decayed(math.floor(periods) if self.staircase else periods))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }
