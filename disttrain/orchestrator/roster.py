"""The book-keeping that every state shares: who starts, who is ready, what is committed, how often it went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from disttrain.orchestrator.effects import StartWorker
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.shared_tuple import SharedTuple


@dataclass(frozen=True, slots=True)
class Start:
    """A worker that was asked for and is not ready yet. `overdue_at_s` is when patience with it ends."""

    worker: str
    overdue_at_s: float


@dataclass(frozen=True, slots=True)
class Commit:
    """A checkpoint that outlives the loss of every worker, holding the state as of `tick`."""

    name: str
    tick: int


@dataclass(frozen=True, slots=True)
class BreakHistory:
    """Generations that broke, seen as a series; a planned pause is none of them.

    `tick`, `losses`, `workers`, `reasons`: the tick at which the last one broke, how many in succession broke there by a death that was
    not of our own doing, who died, and of what.
    `furthest`, `breaks`: the furthest tick at which any broke, and how many since have got no further.
    """

    tick: int = -1
    losses: int = 0
    workers: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    furthest: int = -1
    breaks: int = 0

    def after_break(self, tick: int, lost: Sequence[str], reasons: Sequence[str] = ()) -> BreakHistory:
        """The series with one more: a generation that broke at `tick`, `lost` being its dead, perhaps none.

        Workers that die together (a machine with four of them) are one break, so they alone are no poison.
        """
        same = tick == self.tick
        return BreakHistory(
            tick=tick,
            losses=(self.losses if same else 0) + bool(lost),
            workers=(*(self.workers if same else ()), *lost),
            reasons=(*(self.reasons if same else ()), *reasons),
            furthest=max(tick, self.furthest),
            breaks=1 if tick > self.furthest else self.breaks + 1,
        )


_NOBODY: SharedTuple[str] = SharedTuple()
_NONE_STARTING: SharedTuple[Start] = SharedTuple()


@dataclass(frozen=True, slots=True)
class Roster:
    """What outlives a change of state."""

    next_worker: int = 0  # number in the next name: names are never used twice
    generation: int = 0  # newest that was formed; 0 is none
    starting: SharedTuple[Start] = _NONE_STARTING  # in order of `overdue_at_s`
    ready: SharedTuple[str] = _NOBODY  # living, in no group; in order of arrival
    committed: Commit | None = None  # newest of this call
    trouble: BreakHistory = BreakHistory()
    start_failures: int = 0  # in a row
    start_after_s: float = 0.0  # no start before that, while start_failures > 0
    killed: SharedTuple[str] = _NOBODY  # by us, their deaths not yet reported: nobody's samples are blamed for those

    def __post_init__(self) -> None:
        for name in ("starting", "ready", "killed"):
            object.__setattr__(self, name, SharedTuple.of(getattr(self, name)))

    def made(self, worker: str) -> bool:
        """Whether `worker` is a name that this roster gave out."""
        number = worker[1:]
        return worker[:1] == "w" and number.isdecimal() and int(number) < self.next_worker

    def is_starting(self, worker: str) -> bool:
        return self.starting.has(worker)

    def with_ready(self, worker: str) -> Roster:
        """`worker` came up. Starts work again, so the pause between them ends too."""
        return replace(self, starting=self.starting.without(worker), ready=self.ready.plus(worker), start_failures=0)

    def with_lost_ready(self, worker: str) -> Roster:
        return replace(self, ready=self.ready.without(worker))

    def with_failed_start(self, worker: str, at_s: float, policy: RecoveryPolicy) -> Roster:
        """`worker` will not come up. Starts that fail during the pause began together with the one that caused it, and count as one."""
        return replace(self, starting=self.starting.without(worker)).with_pause(at_s, policy)

    def with_killed(self, workers: tuple[str, ...]) -> Roster:
        """`workers` are being killed because we say so."""
        return replace(self, killed=self.killed.plus_all(worker for worker in workers if not self.killed.has(worker))) if workers else self

    def without_killed(self, worker: str) -> Roster:
        """The death of `worker` was reported."""
        return replace(self, killed=self.killed.without(worker)) if self.killed.has(worker) else self

    def with_pause(self, at_s: float, policy: RecoveryPolicy, in_a_row: int = 1) -> Roster:
        """No start before a pause, which doubles with each that failed; `in_a_row` others went wrong that had come up first."""
        if self.start_failures and at_s < self.start_after_s:
            return self
        failures = self.start_failures + 1
        return replace(self, start_failures=failures, start_after_s=at_s + policy.start_backoff_after(max(failures, in_a_row)))

    def with_commit(self, commit: Commit) -> Roster:
        return replace(self, committed=commit)

    def overdue(self, at_s: float, working: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Who should be ready by now, and does not say that it works on it."""
        return tuple(start.worker for start in self._late(at_s) if start.worker not in working)

    def with_patience(self, at_s: float, policy: RecoveryPolicy) -> Roster:
        """A fresh limit for the overdue: those that work get more time, the others are being killed, and once more should their death
        not be reported."""
        late = self._late(at_s)
        if not late:
            return self
        rest = self.starting[len(late) :]
        return replace(self, starting=SharedTuple((*rest, *(Start(start.worker, at_s + policy.start_limit_s) for start in late))))

    def missing(self, members: int, policy: RecoveryPolicy) -> int:
        """Processes to start so that `members` in a group, the ready and the starting are as many as the policy wants."""
        return max(0, policy.process_limit - members - len(self.ready) - len(self.starting))

    def staffed(self, members: int, at_s: float, policy: RecoveryPolicy) -> tuple[Roster, tuple[StartWorker, ...]]:
        """Start what is missing, unless a failed start asks for a pause."""
        count = self.missing(members, policy)
        if not count or (self.start_failures and at_s < self.start_after_s):
            return self, ()
        names = [f"w{number}" for number in range(self.next_worker, self.next_worker + count)]
        starting = self.starting.plus_all(Start(name, at_s + policy.start_limit_s) for name in names)
        return replace(self, next_worker=self.next_worker + count, starting=starting), tuple(StartWorker(name) for name in names)

    def next_deadline(self, members: int, policy: RecoveryPolicy) -> float | None:
        """When a Timer would start or kill something here."""
        times = [self.starting[0].overdue_at_s] if self.starting else []
        if self.start_failures and self.missing(members, policy):
            times.append(self.start_after_s)
        return min(times, default=None)

    def _late(self, at_s: float) -> tuple[Start, ...]:
        return tuple(takewhile(lambda start: start.overdue_at_s <= at_s, self.starting))
