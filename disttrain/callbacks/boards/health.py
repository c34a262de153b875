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
        self._last_step = -1

    def go_back(self, step: int, recoveries: int) -> None:
        """The fit goes on from `step`, when there had been so many recoveries; what this process showed beyond is shown again."""
        self._recoveries = [shown for shown in self._recoveries if shown <= step]
        self._saves = [shown for shown in self._saves if shown <= step]
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
        for recovery in health.recoveries[len(self._recoveries) :]:
            # One that set the training back lies ahead of it; one right after an epoch stands behind the point of that.
            at = min(max(recovery.step, self._last_step + 1), step)
            self._recoveries.append(at)
            points["run/recoveries", at] = float(self.recoveries)
            points["run/recovery_seconds", at] = points.get(("run/recovery_seconds", at), 0.0) + recovery.seconds
        for save in health.saves[len(self._saves) :]:
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
