"""Watching one of the logged values: which direction is better, and is this value an improvement."""

from __future__ import annotations

import warnings

from disttrain.callbacks.arguments import nearest, real_number
from disttrain.callbacks.base import Callback, Logs


class MonitorCallback(Callback):
    """Base of callbacks that follow one value.

    Args:
        monitor: the name in the logs, such as "val_loss".
        mode: "min", "max", or "auto": as the metric itself says. A name alone says nothing: "acc" in it is not looked for.
        baseline: the best value to begin with.
        min_delta: a smaller change is no improvement.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0.0) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(f"{type(self).__name__}(monitor={monitor!r}): expected a name in the logs, such as 'val_loss'.")
        if mode not in ("auto", "min", "max"):
            near = nearest(str(mode), ("auto", "min", "max"))
            warnings.warn(f"{type(self).__name__} mode {mode!r} is unknown, fallback to auto mode. There are {near}.", stacklevel=2)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best: float | None = baseline
        self.min_delta = abs(real_number(self, "min_delta", min_delta))
        self._more_is_better: bool | None = {"min": False, "max": True}.get(mode)

    def is_improvement(self, value: float, reference: float | None) -> bool:
        """Is `value` better than `reference` by more than `min_delta`? Anything is better than None; NaN is better than nothing else."""
        if reference is None:
            return True
        return value - self.min_delta > reference if self._more_is_better else value + self.min_delta < reference

    def find_direction(self, logs: Logs) -> None:
        """Learn what is better, once the model's metrics are known. Raises ValueError where nobody knows."""
        if self._more_is_better is not None:
            return
        name = self.monitor.removeprefix("val_")
        asked = getattr(self.model, "metric_direction", None)
        direction = "down" if name == "loss" else asked(name) if asked is not None else None
        if direction not in ("up", "down"):
            raise ValueError(
                f"{type(self).__name__}(monitor={self.monitor!r}, mode='auto'): nothing tells whether more of it is better.\n"
                f"  expected  one of the logged names, nearest first: {self._nearest(logs)}; or a mode\n"
                f"  try       {type(self).__name__}(monitor={self.monitor!r}, mode='max'), or mode='min'"
            )
        self._more_is_better = direction == "up"

    def monitored(self, logs: Logs, purpose: str) -> float | None:
        """The value in the logs; None, with a warning, where it is missing."""
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(f"{purpose} needs {self.monitor!r}, which is not in the logs; they have {self._nearest(logs)}.", stacklevel=3)
        return value

    def _nearest(self, logs: Logs) -> str:
        return nearest(self.monitor, list(logs)) if logs else "none"
