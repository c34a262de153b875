"""The saves of one call, seen by the driver: what it adds to each, when one is due, and what is told of how they ended."""

from __future__ import annotations

from typing import Any

from disttrain.controller.boundaries import Boundaries
from disttrain.controller.commits import Committed, Committer, SaveFailed
from disttrain.controller.environment import CallEnvironment
from disttrain.controller.feeding import Feeding
from disttrain.controller.telemetry import CallStatistics
from disttrain.elastic import messages as m
from disttrain.errors import InfrastructureError
from disttrain.telemetry import Save
from disttrain.training.job import Job


class Saving:
    """Takes the workers' parts, adds the callbacks' counters, and hears how each save ended.

    Args:
        committer: None when nothing is kept.

    Attributes:
        newest: the last that was committed in this call.
        failure: why the newest save was abandoned, if none was committed since.
    """

    def __init__(
        self,
        around: CallEnvironment,
        number: int,
        job: Job,
        committer: Committer | None,
        boundaries: Boundaries,
        statistics: CallStatistics,
        feeding: Feeding,
    ) -> None:
        self._around, self._number, self._job, self._committer = around, number, job, committer
        self._boundaries, self._statistics, self._feeding = boundaries, statistics, feeding
        self._saved_at = around.clock.monotonic_s()
        self.newest: Committed | None = None
        self.failure: str | None = None

    @property
    def keeps(self) -> bool:
        """Does this call keep checkpoints?"""
        return self._committer is not None

    @property
    def busy(self) -> bool:
        """Is a commit under way?"""
        return self._committer is not None and self._committer.busy

    def due(self, now: float) -> bool:
        """Have so many seconds passed since the last save? True once."""
        seconds = self._around.checkpoint_interval.seconds
        if seconds is None or self._committer is None or self._committer.busy or now - self._saved_at < seconds:
            return False
        self._saved_at = now
        return True

    def begun(self, report: m.SnapshotTaken) -> None:
        """A worker has copied the state of a tick."""
        if self._boundaries.history is not None:
            self._boundaries.history.save_begun(report.tick)
        self._feeding.note(report.tick)

    def written(self, report: m.ShardWritten) -> None:
        """A worker's part lies in storage, or does not."""
        if self._committer is not None:
            self._committer.take(report, self._own_part)

    def ended(self) -> list[Committed | SaveFailed]:
        """What has been committed or abandoned of this call since the last look; a late save of an earlier one is told, no more.

        Raises:
            InfrastructureError: another driver took the run over.
        """
        found = [] if self._committer is None else self._committer.finished()
        for outcome in found:
            self._tell(outcome, own=outcome.call == self._number)
        return [outcome for outcome in found if outcome.call == self._number]

    def _tell(self, outcome: Committed | SaveFailed, *, own: bool) -> None:
        console, history = self._around.console, self._boundaries.history if own else None
        if isinstance(outcome, SaveFailed):
            if outcome.fatal:
                raise InfrastructureError(outcome.reason)
            words = f"warning: a checkpoint was abandoned: {outcome.reason}"
            console.event("save failed", words, tick=outcome.tick, reason=outcome.reason)
            self.failure = outcome.reason if own else self.failure
            if history is not None:
                history.save_failed(outcome.tick)
            return
        self._saved_at = self._around.clock.monotonic_s()
        self._statistics.saves.append(Save(outcome.step, outcome.seconds, outcome.stall_seconds, outcome.nbytes))
        console.event("committed", f"checkpoint {outcome.name} committed", name=outcome.name, step=outcome.step, bytes=outcome.nbytes)
        if history is not None:
            history.save_committed(outcome.tick)
            self._feeding.committed(outcome.tick)
        if own:
            self.newest, self.failure = outcome, None

    def _own_part(self, part: m.ShardWritten) -> tuple[dict[str, Any], dict[str, Any]]:
        """The driver's part of a save: what the callbacks' counters were at its tick, and where the streams stood."""
        assert self._boundaries.history is not None
        hooks = self._boundaries.history.at(part.tick)
        extra = {
            "call": self._number, "kind": self._job.kind, "tick": part.tick, "meta": part.meta, "hooks": hooks.state,
            "virtual_workers": self._job.virtual_workers, "seed": self._job.seed, "identity": self._around.identity,
            "audited": part.audits > 0, "digests": {} if part.digest is None else part.digest.tree(),
            "data": self._feeding.at(part.tick),
        }  # fmt: skip
        return extra, hooks.arrays
