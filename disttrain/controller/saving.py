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

_PATIENCE_S = 0.5  # a save that was begun within so long is about to end, most likely: the next need not be put off
_SLOW_S = 30.0  # a save that takes longer is told of
_AGAIN_S, _LONGEST_PAUSE_S = 5.0, 120.0  # after a save that failed, the first pause and the longest


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
        self._under_way: tuple[int, int, float] | None = None  # tick, generation, since when
        self._put_off = self._slowness_told = False
        self._again_at, self._pause_s = 0.0, _AGAIN_S  # when what was put off is tried, and how much later than a failure
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

    def under_way(self, now: float, generation: int) -> bool:
        """Is a save of this generation neither committed nor abandoned, though it was begun more than a moment ago?"""
        if self._under_way is None or self._under_way[1] != generation:
            return False
        waited = now - self._under_way[2]
        if waited > _SLOW_S and not self._slowness_told:
            self._slowness_told = True
            words = (
                f"warning: a checkpoint is under way for {waited:.0f} s; training goes on, and the next is put off until that one has ended"
            )
            self._around.console.event("save slow", words, tick=self._under_way[0], seconds=waited)
        return waited > _PATIENCE_S

    def begins(self, now: float, generation: int) -> bool:
        """A save is due; may it begin? While one is under way it is put off to the first step after that; however many, they are one."""
        self._put_off = self.under_way(now, generation)
        return not self._put_off

    def due(self, now: float, generation: int) -> bool:
        """Have so many seconds passed since the last save, or can one that was put off be made? True once."""
        if self._put_off and now >= self._again_at and not self.under_way(now, generation):
            self._put_off, self._saved_at = False, now
            return True
        seconds = self._around.checkpoint_interval.seconds
        if seconds is None or self._put_off or self._committer is None or self._committer.busy or now - self._saved_at < seconds:
            return False
        self._saved_at = now
        return True

    def begun(self, report: m.SnapshotTaken, generation: int) -> None:
        """A worker has copied the state of a tick."""
        self._under_way = report.tick, generation, self._around.clock.monotonic_s()
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
        waits = isinstance(outcome, SaveFailed) and outcome.reason.endswith(m.STILL_WRITING)
        slow = self._slowness_told
        if own and self._under_way is not None:
            begun = self._under_way[0]
            if outcome.tick == begun or (outcome.tick > begun and not waits):  # one that waits says nothing of the one that it waits for
                self._under_way, self._slowness_told = None, False
        if isinstance(outcome, SaveFailed):
            if outcome.fatal:
                raise InfrastructureError(outcome.reason)
            if waits:
                console.event("save put off", f"a checkpoint is put off: {m.STILL_WRITING}", tick=outcome.tick)
            else:
                words = f"warning: a checkpoint was abandoned, training goes on: {outcome.reason}"
                console.event("save failed", words, tick=outcome.tick, reason=outcome.reason)
                self.failure = outcome.reason if own else self.failure
            if own:
                self._try_again(at_once=waits)
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
            if self.failure is not None or slow:
                console.event("saving again", "checkpoints are written again", step=outcome.step)
            self.newest, self.failure, self._pause_s = outcome, None, _AGAIN_S

    def _try_again(self, *, at_once: bool) -> None:
        """When the save before has ended; or after a pause, longer each time."""
        self._put_off, self._again_at = True, self._around.clock.monotonic_s()
        if not at_once:
            self._again_at += self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

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
