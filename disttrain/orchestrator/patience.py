"""Who works, who is slow and who is stuck: judged by what workers say of themselves and by the measured ticks, by no fixed clock.

A worker that computes is never killed for taking long; it is *stuck* only after a limit that follows the ticks measured so far, generous
while none is known. One that waits for others is not slow: whoever they wait for is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from disttrain.orchestrator.events import GroupStuck, Stuck
from disttrain.orchestrator.policy import RecoveryPolicy

WORKING = frozenset({"opening", "computing", "copying", "loading", "receiving", "forming"})  # activities of a worker that works
WAITING = frozenset({"waiting", "forming", "receiving"})  # those that end by what others do
_UNKNOWN_LIMIT_S = 3600.0  # before the first tick is measured, and for what is no tick: a compile, a large job, a slow disk
_LEAST_LIMIT_S = 300.0  # a stalled disk, a page cache gone cold or a swapped process can hold a short step up for minutes
_SLOWEST_TIMES = 5.0  # the slowest tick so far, times that
_MEDIAN_TIMES = 30.0
_ALIVE_S = 5.0  # a machine is asked about a silent worker every second
_SLOW_S = 10.0  # nobody is called slow earlier
_SLOW_TIMES = 5.0  # the median tick, times that


@dataclass(slots=True)
class Doing:
    """What a worker last said of itself.

    Args:
        activity, tick, generation: see `elastic.messages.Beat`.
        since_s: when it began with that, by the driver's clock.
        median_s, slowest_s: of its ticks in this call; 0 while none is complete.
    """

    activity: str
    tick: int
    generation: int
    since_s: float
    median_s: float = 0.0
    slowest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Slow:
    """One that others wait for, and longer than usual: worth a word, nothing else."""

    worker: str
    doing: str
    seconds: float
    others: int
    median_s: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at all workers found."""

    working: frozenset[str]
    stuck: tuple[Stuck, ...] = ()
    group_stuck: GroupStuck | None = None
    slow: Slow | None = None


class Patience:
    """What workers say, and what follows from it. Told of beats, asked now and then; holds no clock.

    Args:
        policy: gives `hang_timeout_s`.
    """

    def __init__(self, policy: RecoveryPolicy) -> None:
        self._policy = policy
        self._doing: dict[str, Doing] = {}
        self._seen_alive: dict[str, float] = {}  # when its machine last said that a silent one runs
        self._told: tuple[str, int, float] = ("", -1, 0.0)  # worker, tick and seconds of the last word about a slow one

    def heard(self, worker: str, doing: Doing) -> None:
        """A beat."""
        self._doing[worker] = doing
        self._seen_alive.pop(worker, None)

    def alive(self, worker: str, at_s: float) -> None:
        """It does not beat, but its machine says that the process runs: a long call may hold the interpreter."""
        self._seen_alive[worker] = at_s

    def forget(self, worker: str) -> None:
        """It is dead."""
        self._doing.pop(worker, None)
        self._seen_alive.pop(worker, None)

    def doing(self, worker: str) -> Doing | None:
        """What it last said."""
        return self._doing.get(worker)

    def working(self, at_s: float) -> frozenset[str]:
        """Who says that it works, or cannot say anything but runs."""
        alive = {worker for worker, seen_s in self._seen_alive.items() if at_s - seen_s < _ALIVE_S}
        return frozenset({worker for worker, doing in self._doing.items() if doing.activity in WORKING} | alive)

    def limit_s(self) -> float:
        """So long may a tick take before it is a hang."""
        if self._policy.hang_timeout_s is not None:
            return self._policy.hang_timeout_s
        median = max((doing.median_s for doing in self._doing.values()), default=0.0)
        if not median:
            return _UNKNOWN_LIMIT_S
        slowest = max(doing.slowest_s for doing in self._doing.values())
        return max(_LEAST_LIMIT_S, _SLOWEST_TIMES * slowest, _MEDIAN_TIMES * median)

    def look(self, members: Iterable[str], generation: int, at_s: float) -> Look:
        """Judge all workers; `members` are those of the newest generation.

        A worker of which nothing is known is neither: it may have been started a moment ago.
        """
        members = tuple(members)
        limit_s, unknown_s = self.limit_s(), self._policy.hang_timeout_s or _UNKNOWN_LIMIT_S
        stuck, least_s = [], at_s - min(limit_s, unknown_s)
        for worker, doing in self._doing.items():
            if doing.since_s >= least_s or doing.activity not in WORKING or doing.activity in WAITING:
                continue
            seconds, allowed = at_s - doing.since_s, limit_s if doing.activity == "computing" else unknown_s
            if seconds > allowed:
                stuck.append(Stuck(worker, _words(doing), seconds, allowed, at_s))
        here = [(worker, self._doing[worker]) for worker in members if worker in self._doing]
        busy = [(worker, doing) for worker, doing in here if doing.activity not in WAITING]
        waiting = [doing for _, doing in here if doing.activity in WAITING]
        group_stuck = slow = None
        if waiting and not busy and len(here) == len(members):
            newest = max(doing.since_s for doing in waiting)
            if at_s - newest > limit_s:
                group_stuck = GroupStuck(generation, at_s - newest, at_s)
        elif waiting:
            slow = self._slow([(worker, doing) for worker, doing in busy if doing.activity in WORKING], len(waiting), at_s)
        return Look(self.working(at_s), tuple(stuck), group_stuck, slow)

    def _slow(self, busy: list[tuple[str, Doing]], others: int, at_s: float) -> Slow | None:
        """Whoever has worked the longest while others wait; told again when the time has doubled."""
        if not busy:
            return None
        worker, doing = min(busy, key=lambda pair: pair[1].since_s)
        seconds = at_s - doing.since_s
        if seconds < max(_SLOW_S, _SLOW_TIMES * doing.median_s):
            return None
        known, tick, told_s = self._told
        if (known, tick) == (worker, doing.tick) and seconds < 2 * told_s:
            return None
        self._told = worker, doing.tick, seconds
        return Slow(worker, _words(doing), seconds, others, doing.median_s)


def _words(doing: Doing) -> str:
    """As in "w2 has been ... for 45 s"."""
    match doing.activity:
        case "computing":
            return f"computing tick {doing.tick}"
        case "opening":
            return "opening its job"
        case "copying":
            return "copying its state for a checkpoint"
        case "loading":
            return "loading a checkpoint"
        case other:
            return other
