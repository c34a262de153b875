"""A learning rate as a function of the step."""

from __future__ import annotations

from typing import Any

from disttrain.optimizers.arguments import number


class LearningRateSchedule:
    """Base class: a subclass defines `__call__(step) -> float`, a pure function, and `get_config`.

    The step is the optimizer's `iterations` before the update: 0 first, a whole number.

    Example:
        >>> class Halving(LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.5**step
        >>> Halving()(3)
        0.125
    """

    def __call__(self, step: int) -> float:
        """The learning rate of the update number `step`."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, step).")

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the schedule, in JSON types."""
        raise NotImplementedError(f"{type(self).__name__} must define get_config(self) to be saved.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The inverse of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def check_decay_steps(schedule: object, decay_steps: float, argument: str = "decay_steps") -> None:
    """Raise ValueError unless there is a step to decay over."""
    number(schedule, argument, decay_steps, "(0, inf)")
