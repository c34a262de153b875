"""Decay of the learning rate with the inverse of time."""

from __future__ import annotations

from disttrain.optimizers.schedules.step_decay import StepDecay


class InverseTimeDecay(StepDecay):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`; with `staircase` the quotient of steps is rounded down.

    Args:
        initial_learning_rate, decay_steps, decay_rate, staircase: see `StepDecay`.
        name: in configs.

    Example:
        >>> InverseTimeDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
        0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "InverseTimeDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)

    def decayed(self, periods: float) -> float:
        return float(self.initial_learning_rate / (1.0 + self.decay_rate * periods))
