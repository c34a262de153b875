"""Where the time of training steps goes on one worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter as clock
from typing import Any

import torch

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


class ExchangeWatch:
    """Measures exchanges by the clock of the host, which computes and waits itself."""

    def __init__(self, times: StepTimes) -> None:
        self._times = times

    def begin(self) -> Any:
        """An exchange begins now."""
        return clock()

    def end(self, began: Any) -> None:
        """The one that began then is over."""
        self._times.exchange_seconds += clock() - began


class DeviceExchangeWatch(ExchangeWatch):
    """Measures them on a device: the host asks for a step long before the device has done it, and waits for its own backward pass too.

    Args:
        event: makes something like a `torch.cuda.Event` with timing. What it measures is read once it has happened: nobody waits for it.
    """

    def __init__(self, times: StepTimes, event: Callable[[], Any]) -> None:
        super().__init__(times)
        self._event = event
        self._open: deque[tuple[Any, Any]] = deque()

    def begin(self) -> Any:
        event = self._event()
        event.record()
        return event

    def end(self, began: Any) -> None:
        self._open.append((began, self.begin()))
        while self._open and self._open[0][1].query():
            first, last = self._open.popleft()
            self._times.exchange_seconds += first.elapsed_time(last) / 1000.0


def watch_of(times: StepTimes, device: torch.device) -> ExchangeWatch:
    """What measures exchanges of tensors that lie there."""
    if device.type == "cuda":
        return DeviceExchangeWatch(times, lambda: torch.cuda.Event(enable_timing=True))
    return ExchangeWatch(times)


__all__ = ["DeviceExchangeWatch", "ExchangeWatch", "StepTimes", "clock", "watch_of"]
