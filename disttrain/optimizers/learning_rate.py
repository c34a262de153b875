"""The learning rate of an optimizer: a number, a schedule of the step, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.live_numbers import Count, Rate
from disttrain.optimizers.schedules import LearningRateSchedule

LearningRate = float | LearningRateSchedule | Callable[[], float]


class HasLearningRate:
    """The part of an optimizer that knows its learning rate."""

    calls: int
    _learning_rate: LearningRate

    @property
    def learning_rate(self) -> Rate:
        """The rate of the next update, with the methods of a variable. Settable, unless it follows a schedule, in whose place only another
        schedule or function goes."""
        rate: Rate = Rate(self)
        return rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        if self.has_schedule and not callable(value):
            raise TypeError(
                f"learning_rate={value!r}: This optimizer was created with a `LearningRateSchedule`, "
                f"{type(self._learning_rate).__name__}.\n"
                "  try       an optimizer made with a number as its learning_rate, if callbacks are to change it"
            )
        self._learning_rate = self._checked_rate(value)

    @property
    def has_schedule(self) -> bool:
        """Is the learning rate a function of the step?"""
        return isinstance(self._learning_rate, LearningRateSchedule)

    @property
    def iterations(self) -> Count:
        """Calls of `apply` so far, with the methods of a variable; settable."""
        count: Count = Count(self)
        return count

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.calls = int(value)

    def current_learning_rate(self) -> float:
        """The rate of the next update."""
        rate = self._learning_rate
        if isinstance(rate, float):
            return rate
        return float(rate(self.calls) if isinstance(rate, LearningRateSchedule) else rate())

    def _checked_rate(self, rate: Any) -> LearningRate:
        if isinstance(rate, LearningRateSchedule):
            return rate
        if callable(rate) and not isinstance(rate, Tensor):
            function: Callable[[], float] = rate
            return function
        try:
            return number(self, "learning_rate", rate)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}(learning_rate={rate!r}): expected a finite number, 0 or more, a LearningRateSchedule "
                "or a function without arguments."
            ) from None
