"""Where a run can stand. Each state is a frozen value that prints and pickles: the journal is made of them."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain.orchestrator.effects import Effect
from disttrain.orchestrator.roster import Roster


@dataclass(frozen=True, slots=True)
class Holding:
    """What a worker that left the step loop holds in memory: the state as of `tick`, or no whole state (None)."""

    worker: str
    tick: int | None


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
    members: tuple[str, ...]  # by rank
    tick: int  # newest completed that was told


@dataclass(frozen=True, slots=True)
class Gathering:
    """The generation broke or pauses; the next is formed as soon as each living member has left the step loop."""

    roster: Roster
    members: tuple[str, ...]  # the living, by rank
    tick: int  # newest completed that was told
    stopped: tuple[Holding, ...]  # those members that have left the loop
    lost: tuple[str, ...]  # members that died in this generation, but for those that we killed
    planned: bool  # a pause: nobody died, nothing was aborted
    deadline_s: float  # who has not left the loop by then, and does not say that it works, is killed
    reasons: tuple[str, ...] = ()  # what those in `lost` died of

    @property
    def stepping(self) -> tuple[str, ...]:
        """Members that have not left the loop, by rank."""
        stopped = {holding.worker for holding in self.stopped}
        return tuple(worker for worker in self.members if worker not in stopped)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Too few workers for a group. Those that live keep the state in memory; if none does, the next group loads a checkpoint."""

    roster: Roster
    holders: tuple[Holding, ...]  # former members, by rank
    since_s: float


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


def members_of(state: State) -> tuple[str, ...]:
    """Workers that belong to the newest generation and live, as far as was told, by rank."""
    match state:
        case Running() | Gathering():
            return state.members
        case Waiting():
            return tuple(holding.worker for holding in state.holders)
        case _:
            return ()


def in_loop(state: State) -> tuple[str, ...]:
    """Members that may still be inside a collective of the newest generation."""
    match state:
        case Running():
            return state.members
        case Gathering():
            return state.stepping
        case _:
            return ()
