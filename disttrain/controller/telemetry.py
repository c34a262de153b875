"""What callbacks may ask of a launched training: put together from what the workers report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from disttrain.clock import Clock, SystemClock
from disttrain.telemetry import Health, Recovery, Save
from disttrain.training.step.step_times import StepTimes

_KEPT = 1000  # recoveries, and saves: a run of weeks commits more often than anybody reads of

T = TypeVar("T")


class Newest(Generic[T]):
    """The last of many things, how many there were before those, and a sum over all of them.

    Args:
        amount: of one.
    """

    def __init__(self, amount: Callable[[T], float]) -> None:
        self._kept: deque[T] = deque(maxlen=_KEPT)
        self._amount = amount
        self.earlier, self.total = 0, 0.0

    def append(self, thing: T) -> None:
        """One more."""
        self.earlier += len(self._kept) == _KEPT
        self.total += self._amount(thing)
        self._kept.append(thing)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)


@dataclass
class CallStatistics:
    """What happened in one call, noted by the controller as it hears of it.

    Args:
        wanted_workers: asked for.
        first_step: optimizer steps that were done before.
        clock: where time comes from.
    """

    wanted_workers: int
    first_step: int = 0
    began: float | None = None  # when the first step could begin, by the monotonic clock
    step: int = 0
    workers: int = 0
    callback_seconds: float = 0.0
    recoveries: Newest[Recovery] = field(default_factory=lambda: Newest(lambda recovery: recovery.seconds))
    saves: Newest[Save] = field(default_factory=lambda: Newest(lambda save: save.stall_seconds))
    step_times: dict[str, StepTimes] = field(default_factory=dict)
    clock: Clock = field(default_factory=SystemClock)

    def begin(self) -> None:
        """From here on time counts; said again, nothing changes."""
        if self.began is None:
            self.began = self.clock.monotonic_s()

    def health(self) -> Health:
        """All of it."""
        return Health(
            elapsed_seconds=0.0 if self.began is None else self.clock.monotonic_s() - self.began,
            recovery_seconds=self.recoveries.total,
            save_seconds=self.saves.total,
            data_seconds=max((step_times.data_seconds for step_times in self.step_times.values()), default=0.0),
            callback_seconds=self.callback_seconds,
            steps=max(0, self.step - self.first_step),
            workers=self.workers,
            wanted_workers=self.wanted_workers,
            recoveries=tuple(self.recoveries),
            saves=tuple(self.saves),
            earlier_recoveries=self.recoveries.earlier,
            earlier_saves=self.saves.earlier,
            paces={worker: step_times.pace() for worker, step_times in sorted(self.step_times.items())},
        )


class RunTelemetry:
    """See `disttrain.telemetry.Telemetry`.

    Args:
        run_dir: the run directory.
        facts: what the run is.
        statistics: that of the call.
        gradients: fetches them from a worker.
        tell: puts an event on the timeline.
    """

    def __init__(
        self, run_dir: str | None, facts: dict[str, Any], statistics: Callable[[], CallStatistics],
        gradients: Callable[[], dict[str, np.ndarray]], tell: Callable[..., None],
    ) -> None:  # fmt: skip
        self.run_dir, self.facts, self._statistics, self._gradients, self._tell = run_dir, facts, statistics, gradients, tell

    def health(self) -> Health:
        return self._statistics().health()

    def gradients(self) -> dict[str, np.ndarray]:
        return self._gradients()

    def tell(self, event: str, /, **details: Any) -> None:
        self._tell(event, None, **details)
