"""What the driver is to do. Each can be done twice without harm: a worker drops what carries an older generation, or what it has done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GiveUpKind = Literal["not_enough_workers", "poison", "no_progress", "start_failed", "user_error"]


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a process under a name that no other ever had."""

    worker: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell `workers`, outside their collectives, to leave those of `generation` and report `Stopped`.

    A broken connection is seen only by the neighbours of the dead; the others would wait for it to the end of a long timeout.
    """

    generation: int
    workers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pause:
    """Ask all members of `generation` to stop at the same next boundary and report `Stopped`; nothing is thrown away."""

    generation: int


@dataclass(frozen=True, slots=True)
class Form:
    """Form `generation`; whoever is still at work in an older one leaves that first.

    Rank r is `members[r]` and hosts the virtual ranks from `placement[r][0]` up to, not including, `placement[r][1]`.

    `source` sends its state, as of `tick`, to every member that is behind or new. None: no member holds a state worth sending, so each
    loads checkpoint `restore`, or, if that is None too, begins with what the call was given; `tick` is 0 then. `tick` can be the last of
    the call: the members have only the result to deliver.
    """

    generation: int
    members: tuple[str, ...]
    placement: tuple[tuple[int, int], ...]
    source: str | None
    tick: int
    restore: str | None


@dataclass(frozen=True, slots=True)
class Kill:
    """End the process for certain; its `WorkerLost` follows."""

    worker: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the call with an error. `tick`, where one is in question: so many units were complete, and number `tick` from 0 failed."""

    kind: GiveUpKind
    message: str
    tick: int | None = None


Effect = StartWorker | Abort | Pause | Form | Kill | GiveUp
