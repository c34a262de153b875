"""How the run fares, as points of curves: goodput, workers, recoveries, checkpoints, the pace of each worker."""

from __future__ import annotations

from disttrain.callbacks.telemetry import Health

Point = tuple[str, float, int]


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
        self._recoveries: list[int] = []  # steps of those shown, in this process
        self._saves: list[int] = []

    def go_back(self, step: int, recoveries: int) -> None:
        """The fit goes on from `step`, when there had been so many recoveries; what this process showed beyond is shown again."""
        self._recoveries = [shown for shown in self._recoveries if shown <= step]
        self._saves = [shown for shown in self._saves if shown <= step]
        self._before = max(0, recoveries - len(self._recoveries))

    def points(self, health: Health, step: int) -> list[Point]:
        """What is new, oldest first.

        Args:
            step: optimizer steps done now.
        """
        points: list[Point] = []
        for recovery in health.recoveries[len(self._recoveries) :]:
            at = min(recovery.step, step)  # one that set the training back lies ahead of it
            self._recoveries.append(at)
            points.append(("run/recoveries", float(self.recoveries), at))
            points.append(("run/recovery_seconds", recovery.seconds, at))
        for save in health.saves[len(self._saves) :]:
            at = min(save.step, step)
            self._saves.append(at)
            points.append(("run/checkpoint_seconds", save.seconds, at))
        points.append(("run/goodput", health.goodput, step))
        points.append(("run/workers_alive", float(health.workers), step))
        points.append(("run/recoveries", float(self.recoveries), step))
        for name, pace in sorted(health.paces.items()):
            points.append((f"run/step_seconds/{name}", pace.step_seconds, step))
            points.append((f"run/compute_seconds/{name}", pace.compute_seconds, step))
        return points
