"""The outputs of a `predict`, as they come in from the workers: in parts, in any order, some of them twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disttrain.training.job import Job
from disttrain.training.program import BOUNDARIES, Kind, Position
from disttrain.training.step.predictions import outputs_of_step


class Outputs:
    """The outputs of `job` that are here.

    Attributes:
        parts: by number; step s of a call with V virtual workers has the parts from s * V on. What has come stays.
    """

    def __init__(self, job: Job) -> None:
        self.parts: dict[int, Any] = {}
        self._program, self._virtual_workers = job.program, job.virtual_workers
        self._complete = 0  # steps from the first on whose outputs are all here: only ever more

    def take(self, parts: Mapping[int, Any]) -> None:
        """Parts that a worker has computed; the same bits whoever does."""
        self.parts.update(parts)

    def of(self, position: Position) -> Any:
        """The outputs of a batch."""
        return outputs_of_step(self.parts, position.step, self._virtual_workers)

    def first_missing(self) -> int:
        """The first step whose outputs are not all here."""
        plan = self._program.plan(Kind.PREDICT)
        while self._complete < plan.steps:
            first, count = self._complete * self._virtual_workers, plan.counted(0, self._complete)
            if count is None:
                break  # nobody has read so far
            if not count:
                return plan.steps  # the data ended here
            leaves = min(self._virtual_workers, count)
            if any(part not in self.parts for part in range(first, first + leaves)):
                break
            self._complete += 1
        return self._complete

    def goes_on_at(self, handled: int) -> int:
        """Where a group goes on: at the boundary whose hooks have not run, where its outputs are here, else at the first tick without.

        Args:
            handled: the tick of the last boundary whose hooks have run.
        """
        step = self.first_missing()
        tick = self._program.tick_of(0, step)
        boundary = tick - 1
        if step and boundary > handled and self._program.at(boundary).kind in BOUNDARIES:
            return boundary
        return tick

    def reach(self, tick: int) -> bool:
        """Are the outputs of all ticks before `tick` here? A callback may have ended the call early."""
        return tick <= self._program.tick_of(0, self.first_missing())
