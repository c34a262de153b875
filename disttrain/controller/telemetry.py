"""What callbacks may ask of a launched training: put together from what the workers report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from disttrain.callbacks.telemetry import Health, Recovery, Save
from disttrain.training.step.step_times import StepTimes


@dataclass
class CallStatistics:
    """What happened in one call, noted by the controller as it hears of it.

    Args:
        wanted_workers: asked for.
        first_step: optimizer steps that were done before.
    """

    wanted_workers: int
    first_step: int = 0
    began: float | None = None  # when the first step could begin, by the monotonic clock
    step: int = 0
    workers: int = 0
    callback_seconds: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    step_times: dict[str, StepTimes] = field(default_factory=dict)

    def begin(self) -> None:
        """From here on time counts; said again, nothing changes."""
        if self.began is None:
            self.began = time.monotonic()

    def health(self) -> Health:
        """All of it."""
        return Health(
            elapsed_seconds=0.0 if self.began is None else time.monotonic() - self.began,
            recovery_seconds=sum(recovery.seconds for recovery in self.recoveries),
            save_seconds=sum(save.stall_seconds for save in self.saves),
            data_seconds=max((step_times.data_seconds for step_times in self.step_times.values()), default=0.0),
            callback_seconds=self.callback_seconds,
            steps=max(0, self.step - self.first_step),
            workers=self.workers,
            wanted_workers=self.wanted_workers,
            recoveries=tuple(self.recoveries),
            saves=tuple(self.saves),
            paces={worker: step_times.pace() for worker, step_times in sorted(self.step_times.items())},
        )


class RunTelemetry:
    """See `disttrain.callbacks.telemetry.Telemetry`.

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
        self.run_dir, self.facts, self._ledger, self._gradients, self._tell = run_dir, facts, statistics, gradients, tell

    def health(self) -> Health:
        return self._ledger().health()

    def gradients(self) -> dict[str, np.ndarray]:
        return self._gradients()

    def tell(self, event: str, **details: Any) -> None:
        self._tell(event, None, **details)
