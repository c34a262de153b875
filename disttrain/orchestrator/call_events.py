"""What can happen to a call beside what `decide` sees of the workers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GroupIs = Literal["none", "running", "gathering", "waiting"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """All members of `generation` wait at `tick` for the callbacks."""

    generation: int
    tick: int


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """What `decide` made of the group.

    Args:
        group: "none" has been formed yet, it is "running", "gathering" to form anew, or "waiting" for more workers.
        generation: the newest formed; `tick`: where that one began.
        restore: it began from this checkpoint.
        anew: every worker was lost since, so that the callbacks go back to `tick` as well.
        holder: while waiting, who holds the newest state, as of `tick`; None: nobody.
    """

    group: GroupIs
    generation: int
    tick: int = 0
    restore: str | None = None
    anew: bool = False
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class BoundaryReached:
    """Rank 0 reported it; `complete`: the outputs of a predict up to there are in the driver's hands."""

    boundary: Boundary
    complete: bool = True


@dataclass(frozen=True, slots=True)
class OutputsArrived:
    """The outputs up to the boundary that was waited for are here."""


@dataclass(frozen=True, slots=True)
class HooksDone:
    """The callbacks have run: those before the first step (`tick` -1), or those of the boundary at `tick`."""

    tick: int


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The callbacks' counters are those of `tick` again."""

    tick: int


@dataclass(frozen=True, slots=True)
class Halted:
    """Every member left the loop after `tick`, as they were asked to."""

    generation: int
    tick: int


@dataclass(frozen=True, slots=True)
class StepsDone:
    """`generation` has completed the last tick of the call, which is `tick`."""

    generation: int
    tick: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result of `generation` is in the driver's hands, all of it."""

    generation: int


@dataclass(frozen=True, slots=True)
class SaveCommitted:
    """A checkpoint of `tick` is committed."""

    tick: int


@dataclass(frozen=True, slots=True)
class SaveAbandoned:
    """A checkpoint of `tick` was abandoned."""

    tick: int


@dataclass(frozen=True, slots=True)
class SaveDue:
    """So many seconds have passed since the last checkpoint."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C or SIGTERM in the driver."""


CallEvent = (
    GroupChanged
    | BoundaryReached
    | OutputsArrived
    | HooksDone
    | RolledBack
    | Halted
    | StepsDone
    | Delivered
    | SaveCommitted
    | SaveAbandoned
    | SaveDue
    | Interrupted
)
