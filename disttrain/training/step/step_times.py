"""Where the time of training steps goes on one worker."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter as clock

from disttrain.telemetry import Pace


@dataclass(slots=True)
class StepTimes:
    """Sums over the training steps so far, in seconds; whoever waits for something adds to them.

    Args:
        step_seconds: all of it.
        data_seconds: fetching samples.
        exchange_seconds: sending, receiving and waiting for other workers, where nothing else goes on.
    """

    steps: int = 0
    step_seconds: float = 0.0
    data_seconds: float = 0.0
    exchange_seconds: float = 0.0

    def pace(self) -> Pace:
        """The means over the steps."""
        steps = max(1, self.steps)
        compute = max(0.0, self.step_seconds - self.data_seconds - self.exchange_seconds)
        return Pace(self.step_seconds / steps, compute / steps, self.data_seconds / steps, self.exchange_seconds / steps)


__all__ = ["StepTimes", "clock"]
