"""Checkpoints that outlive the driver, and the real `Committer`, whose thread is simulated."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from disttrain.controller.commits import Committed, Committer, SaveFailed
from disttrain.rundir.resume import ResumePoint
from disttrain.testing.simulation.call import State
from disttrain.testing.simulation.contracts import Checks
from disttrain.testing.simulation.scenario import Scenario
from disttrain.testing.simulation.world import Violation, World


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A committed one."""

    name: str
    call: int
    tick: int
    state: State
    extra: dict[str, Any]


class Storage:
    """The run directory: it is slow, it fails, it hangs, but what is committed stays.

    Attributes:
        checkpoints: oldest first.
        results: of the calls that have finished.
    """

    def __init__(self, world: World, scenario: Scenario, checks: Checks) -> None:
        self.world, self.scenario, self.checks = world, scenario, checks
        self.checkpoints: list[Checkpoint] = []
        self.results: dict[int, Any] = {}
        self.parts_fail_until = self.commits_fail_until = self.hangs_until = 0.0
        self._rng = world.rng("storage")

    def write(self, worker: Any, about: dict[str, Any], began: float) -> None:
        """A worker's part, written beside its training."""
        seconds = self.scenario.write_s * self._rng.uniform(0.5, 2.0)
        error = "OSError: no space left" if self.world.now < self.parts_fail_until else None
        self.world.at(self._when(seconds), worker.process.run, worker.writer.written, about, error, began)

    def load(self, name: str) -> State:
        """The state in a checkpoint."""
        return next(found.state for found in self.checkpoints if found.name == name)

    def newest(self) -> Checkpoint | None:
        """The last that was committed."""
        return self.checkpoints[-1] if self.checkpoints else None

    def resume_point(self) -> ResumePoint | None:
        """What an attempt finds."""
        newest = self.newest()
        store: Any = None
        return None if newest is None else ResumePoint(newest.name, newest.call, newest.tick, newest.extra, {}, store, {})

    def committer(self, attempt: int) -> SimulatedCommitter:
        """That of one attempt."""
        return SimulatedCommitter(self, attempt)

    def _when(self, seconds: float) -> float:
        return max(self.world.now, self.hangs_until) + seconds

    def begin_commit(self, committer: SimulatedCommitter, work: Any) -> None:
        """The committer's thread takes up a save."""
        self.world.at(self._when(self.scenario.commit_s * self._rng.uniform(0.5, 2.0)), committer.end_commit, work)

    def commit(self, attempt: int, parts: list[Any], extra: dict[str, Any]) -> str:
        """Write the manifest.

        Raises:
            OSError: the storage fails.
        """
        if self.world.now < self.commits_fail_until:
            raise OSError("the storage does not answer")
        first = parts[0]
        state = first.meta["state"]
        name = f"{attempt}.{first.sequence}.{first.step}"
        if {part.folder for part in parts} != {first.folder} or [part.rank for part in parts] != list(range(first.size)):
            raise Violation(f"{name} is put together from parts that do not belong together")
        self.checks.commits(first.call, first.tick, state, extra)
        self.checkpoints.append(Checkpoint(name, first.call, first.tick, state, extra))
        return name


class _Thread:
    """Stands for the queue to the committer's thread: one save after the other."""

    def __init__(self, committer: SimulatedCommitter) -> None:
        self._committer = committer

    def put(self, work: Any) -> None:
        if work is not None:
            self._committer.queue(work)


class SimulatedCommitter(Committer):
    """The real one, but for its thread and the bytes."""

    def __init__(self, storage: Storage, attempt: int) -> None:
        anything: Any = None
        super().__init__(anything, anything, 1, set())
        self._storage, self.attempt_number = storage, attempt
        self._work: Any = _Thread(self)
        self._waiting: list[Any] = []
        self.dead = False

    def _run(self) -> None:
        """Nothing: the thread ends at once."""

    def queue(self, work: Any) -> None:
        """A save is complete."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._storage.begin_commit(self, work)

    def end_commit(self, work: Any) -> None:
        """The thread is through with a save."""
        if self.dead:
            return
        parts, extra = work[0], work[1]
        first, now = parts[0], self._storage.world.now
        try:
            name = self._storage.commit(self.attempt_number, parts, extra)
        except OSError as error:
            if first.call == self._call:
                self._done_ticks.discard(first.tick)
            self.results.put(SaveFailed(first.tick, f"OSError: {error}", call=first.call))
        else:
            stall = max(part.stall_seconds for part in parts)
            seconds = max(part.seconds for part in parts)
            self.results.put(Committed(name, first.tick, first.step, 1 << 20, seconds, stall, first.call))
        self._ended += 1
        self._storage.checks.saved(now)
        self._waiting.pop(0)
        if self._waiting:
            self._storage.begin_commit(self, self._waiting[0])

    def die(self, *, lands: bool) -> None:
        """The driver is dead; the commit that was under way may have got through."""
        if self._waiting and lands and not self.dead:
            with contextlib.suppress(OSError):
                self._storage.commit(self.attempt_number, *self._waiting[0][:2])
        self.dead = True
