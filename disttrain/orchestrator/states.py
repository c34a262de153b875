"""Where a run can stand. Each state is a frozen value that prints and pickles: the journal is made of them.

What has an entry for each worker is a `SharedTuple`, whatever sequence it is given as, so that an event about one of many thousands costs
no walk over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disttrain.orchestrator.effects import Effect
from disttrain.orchestrator.roster import Roster
from disttrain.orchestrator.shared_tuple import SharedTuple

NOTHING: SharedTuple[str] = SharedTuple()


@dataclass(frozen=True, slots=True)
class Holding:
    """What a worker that left the step loop holds in memory: the state as of `tick`, or no whole state (None)."""

    worker: str
    tick: int | None


NO_HOLDING: SharedTuple[Holding] = SharedTuple()


@dataclass(frozen=True, slots=True)
class Starting:
    """No generation of this call has been formed yet."""

    roster: Roster
    since_s: float
    first_ready_s: float | None = None  # since when somebody is ready


@dataclass(frozen=True, slots=True)
class Running:
    """Generation `roster.generation` steps on. `roster.ready` are spares: every ready worker that fits is a member."""

    roster: Roster
    members: SharedTuple[str]  # by rank
    tick: int  # newest completed that was told

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", SharedTuple.of(self.members))


@dataclass(frozen=True, slots=True)
class Gathering:
    """The generation broke or pauses; the next is formed as soon as each living member has left the step loop."""

    roster: Roster
    members: SharedTuple[str]  # the living, by rank
    tick: int  # newest completed that was told
    stopped: SharedTuple[Holding]  # those members that have left the loop
    lost: SharedTuple[str]  # members that died in this generation, but for those that we killed
    planned: bool  # a pause: nobody died, nothing was aborted
    deadline_s: float  # who has not left the loop by then, and does not say that it works, is killed
    reasons: SharedTuple[str] = NOTHING  # what those in `lost` died of
    distrusted: bool = False  # their bits differ: nobody's memory counts, and the next generation loads a checkpoint

    def __post_init__(self) -> None:
        for name in ("members", "stopped", "lost", "reasons"):
            object.__setattr__(self, name, SharedTuple.of(getattr(self, name)))

    @property
    def stepping(self) -> tuple[str, ...]:
        """Members that have not left the loop, by rank."""
        return tuple(worker for worker in self.members if not self.stopped.has(worker)) if self.still_stepping else ()

    @property
    def still_stepping(self) -> int:
        """How many those are: only members are noted in `stopped`."""
        return len(self.members) - len(self.stopped)

    def is_stepping(self, worker: str) -> bool:
        """Whether `worker` is one of them."""
        return self.members.has(worker) and not self.stopped.has(worker)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Too few workers for a group. Those that live keep the state in memory; if none does, the next group loads a checkpoint."""

    roster: Roster
    holders: SharedTuple[Holding]  # former members, by rank
    since_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "holders", SharedTuple.of(self.holders))


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over. The roster is kept true, so that the next call can begin with those that live (`roster.ready`)."""

    roster: Roster
    outcome: str  # "finished", "stopped", or the kind of the GiveUp


State = Starting | Running | Gathering | Waiting | Ended
Live = Starting | Running | Gathering | Waiting  # every state in which a call is open


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state, what to do, and why: `because` becomes the log line."""

    state: State
    effects: tuple[Effect, ...] = ()
    because: str = ""


def members_of(state: State) -> Sequence[str]:
    """Workers that belong to the newest generation and live, as far as was told, by rank."""
    match state:
        case Running() | Gathering():
            return state.members
        case Waiting():
            return tuple(holding.worker for holding in state.holders)
        case _:
            return ()


def count_members(state: State) -> int:
    """How many `members_of` has, without a walk."""
    match state:
        case Running() | Gathering():
            return len(state.members)
        case Waiting():
            return len(state.holders)
        case _:
            return 0


def is_member(state: State, worker: str) -> bool:
    """Whether `worker` is in `members_of`, without a walk."""
    match state:
        case Running() | Gathering():
            return state.members.has(worker)
        case Waiting():
            return state.holders.has(worker)
        case _:
            return False


def in_loop(state: State) -> Sequence[str]:
    """Members that may still be inside a collective of the newest generation."""
    match state:
        case Running():
            return state.members
        case Gathering():
            return state.stepping
        case _:
            return ()
