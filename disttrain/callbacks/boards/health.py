"""How the run fares, as points of curves: goodput, workers, recoveries, checkpoints, the pace of each worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from disttrain.telemetry import Health

Point = tuple[str, float, int]
T = TypeVar("T")
_HELD = 1000


class _Shown:
    """Which of many things have been shown: the steps that the newest stand at, and how many there were before those."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._before = 0

    def __len__(self) -> int:
        return self._before + len(self._steps)

    def new(self, listed: Sequence[T], earlier: int) -> Sequence[T]:
        """Those of `listed`, before which there were `earlier` others, that have not been shown."""
        self._before += max(0, earlier - len(self))  # nobody looked while those were listed
        return listed[len(self) - earlier :]

    def append(self, step: int) -> None:
        self._steps.append(step)
        if len(self._steps) >= 2 * _HELD:
            self._before += _HELD
            del self._steps[:_HELD]

    def go_back(self, step: int) -> None:
        """Those beyond `step` are to be shown again."""
        self._steps = [shown for shown in self._steps if shown <= step]


class HealthCurves:
    """Turns what `telemetry.health()` gives into points over optimizer steps. A recovery and a save stand at their own step, once.

    A process counts from its own start; `run/recoveries` goes on where the process before it ended, so that the curve never falls.
    """

    def __init__(self) -> None:
        self.begin()

    @property
    def recoveries(self) -> int:
        """How many the curve has shown, those of earlier processes among them."""
        return self._before + len(self._recoveries)

    def begin(self) -> None:
        """A fit begins."""
        self._before = 0
        self._recoveries, self._saves = _Shown(), _Shown()  # in this process
        self._last_step = -1

    def go_back(self, step: int, recoveries: int) -> None:
        """The fit goes on from `step`, when there had been so many recoveries; what this process showed beyond is shown again."""
        self._recoveries.go_back(step)
        self._saves.go_back(step)
        self._before = max(0, recoveries - len(self._recoveries))
        self._last_step = step

    def points(self, health: Health, step: int) -> list[Point]:
        """What is new, oldest first.

        Args:
            step: optimizer steps done now.
        """
        points: dict[
            tuple[str, int], float
        ] = {}  # one for each step: of two recoveries within it, the count after both and the seconds of both
        for recovery in self._recoveries.new(health.recoveries, health.earlier_recoveries):
            # One that set the training back lies ahead of it; one right after an epoch stands behind the point of that.
            at = min(max(recovery.step, self._last_step + 1), step)
            self._recoveries.append(at)
            points["run/recoveries", at] = float(self.recoveries)
            points["run/recovery_seconds", at] = points.get(("run/recovery_seconds", at), 0.0) + recovery.seconds
        for save in self._saves.new(health.saves, health.earlier_saves):
            at = min(save.step, step)
            self._saves.append(at)
            points["run/checkpoint_seconds", at] = save.seconds
        points["run/goodput", step] = health.goodput
        points["run/workers_alive", step] = float(health.workers)
        points["run/recoveries", step] = float(self.recoveries)
        for name, pace in sorted(health.paces.items()):
            points[f"run/step_seconds/{name}", step] = pace.step_seconds
            points[f"run/compute_seconds/{name}", step] = pace.compute_seconds
        self._last_step = step
        return [(tag, value, at) for (tag, at), value in points.items()]
