"""Cosine decay of the learning rate, with a warm-up."""

from __future__ import annotations

import math
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule, check_decay_steps


class CosineDecay(LearningRateSchedule):
    """A straight rise to `warmup_target`, then half a cosine down to `alpha` of it (Loshchilov & Hutter 2016).

    Args:
        initial_learning_rate: where the warm-up starts, or the decay where there is none.
        decay_steps: length of the decay, which begins after the warm-up.
        alpha: what is left at the end, as a fraction.
        warmup_target: the rate after the warm-up; None decays at once.
        warmup_steps: length of the warm-up.

    Example:
        >>> round(CosineDecay(0.1, decay_steps=10)(5), 6)
        0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        check_decay_steps(self, decay_steps)
        self.initial_learning_rate, self.decay_steps, self.alpha, self.name = initial_learning_rate, decay_steps, alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: int) -> float:
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return float(start + (self.warmup_target - start) * step / self.warmup_steps)
            start, step = self.warmup_target, step - self.warmup_steps
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return float(start * ((1.0 - self.alpha) * cosine + self.alpha))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }
