"""A learning rate that is constant between boundaries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from disttrain.optimizers.schedules.base import LearningRateSchedule


class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to and including the step `boundaries[i]`, the last value beyond.

    Args:
        boundaries: steps, increasing.
        values: one more than boundaries.

    Example:
        >>> [PiecewiseConstantDecay([10], [0.1, 0.01])(step) for step in (9, 10, 11)]
        [0.1, 0.1, 0.01]
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"PiecewiseConstantDecay: {len(boundaries)} boundaries, {len(values)} values; expected one value more than boundaries."
            )
        if list(boundaries) != sorted(boundaries):
            raise ValueError(f"PiecewiseConstantDecay(boundaries={list(boundaries)}): expected increasing steps.")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: int) -> float:
        return float(self.values[bisect_left(self.boundaries, step)])

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}
