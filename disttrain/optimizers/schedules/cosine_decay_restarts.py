"""Cosine decay of the learning rate, again and again."""

from __future__ import annotations

import math
from typing import Any

from disttrain.optimizers.arguments import number
from disttrain.optimizers.schedules.base import LearningRateSchedule, check_decay_steps


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine from the initial rate down to `alpha` of it, over and over (SGDR, Loshchilov & Hutter 2016).

    Args:
        initial_learning_rate: where the first period starts.
        first_decay_steps: length of the first period, above 0.
        t_mul: each period is so many times as long as the last one. Below 1 the periods end for good at `first_decay_steps /
            (1 - t_mul)`; the rate stays at `alpha` from there on (Keras: NaN).
        m_mul: each period starts so many times as high.
        alpha: what is left at the end of a period, as a fraction of the initial rate.
        name: in configs.

    Example:
        >>> schedule = CosineDecayRestarts(0.1, first_decay_steps=10, m_mul=0.5)
        >>> [round(schedule(step), 6) for step in (0, 5, 10, 20, 30)]
        [0.1, 0.05, 0.05, 0.025, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = "SGDRDecay",
    ) -> None:
        check_decay_steps(self, first_decay_steps, "first_decay_steps")
        number(self, "t_mul", t_mul, "(0, inf)")
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step: int) -> float:
        restarts, fraction = self._place(step)
        cosine = 0.5 * self.m_mul**restarts * (1.0 + math.cos(math.pi * fraction))
        return float(self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha))

    def _place(self, step: float) -> tuple[int, float]:
        """(restarts before this step, the part of the period that is over). By subtraction: logarithms miss the steps of restarts."""
        length = self.first_decay_steps
        if self.t_mul == 1.0:
            return int(step // length), step % length / length
        if self.t_mul < 1.0 and step >= length / (1.0 - self.t_mul):
            return 0, 1.0
        restarts = 0
        while step >= length:
            step, length, restarts = step - length, length * self.t_mul, restarts + 1
        return restarts, step / length

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self.t_mul,
            "m_mul": self.m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }
