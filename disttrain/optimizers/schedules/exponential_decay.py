"""Exponential decay of the learning rate."""

from __future__ import annotations

from disttrain.optimizers.schedules.step_decay import StepDecay


class ExponentialDecay(StepDecay):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`; with `staircase` the exponent is rounded down.

    Args:
        initial_learning_rate, decay_steps, decay_rate, staircase: see `StepDecay`.
        name: in configs.

    Example:
        >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
        0.025
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "ExponentialDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)

    def decayed(self, periods: float) -> float:
        return float(self.initial_learning_rate * self.decay_rate**periods)
