"""What can happen to a run, as the driver heard it. Values only; the time at which it was heard travels inside (`at_s`, monotonic seconds).

A *tick* counts the completed units of the current call: train steps and evaluation steps alike. A worker leaves its loop only at the
boundary between two ticks, so what it holds is always the whole state as of one tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A started worker has imported, built the model and may join."""

    worker: str
    at_s: float


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A worker that was asked for never came to be ready, and no process of it is left."""

    worker: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The process is dead, whatever it was doing and whichever generation it was in. The last report about a worker that counts.

    `reason` is for people and names the signal or the exit code where it is known. `crashed`: the process ended itself by a fault of its
    own (SIGSEGV, SIGBUS, SIGFPE, SIGABRT, an exit code); False where something outside ended it, or nobody knows.
    """

    worker: str
    reason: str
    at_s: float
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Silent:
    """No heartbeat from a worker since `since_s`.

    `condition` is what its machine says of the process: "stopped" (SIGSTOP, a debugger), "alive" (it runs, or sleeps in a long call
    that holds the interpreter), or "unknown": nobody there answers either.
    """

    worker: str
    since_s: float
    at_s: float
    condition: Literal["stopped", "alive", "unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A worker has got no further for `seconds`, more than the `limit_s` that follows the measured ticks (`patience.py`)."""

    worker: str
    doing: str
    seconds: float
    limit_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class GroupStuck:
    """All members of `generation` wait for each other, and none has got further for `seconds`: their connections fail."""

    generation: int
    seconds: float
    at_s: float


@dataclass(frozen=True, slots=True)
class ReplicasDiffer:
    """The members of `generation` held different bits as of `tick`: what they have in memory counts for nothing."""

    generation: int
    tick: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker computes other bits than it should, and takes no part any more; `because` is for people."""

    worker: str
    because: str
    at_s: float


@dataclass(frozen=True, slots=True)
class PlaceFailed:
    """Where a worker runs, something does not do its part, its GPU say: it can go on no more, and nobody's samples are to blame."""

    worker: str
    because: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """A member left the step loop of `generation`: its group broke, or it was told to (Abort, Pause).

    A member that has completed the call and waits for the end answers an Abort or a Pause in the same way: whoever was to deliver the
    result may be dead.

    `tick` is the state it holds in memory. None says that it holds no whole state of this call: it was still waiting for one when
    the group broke, or the transfer into its own was cut in the middle.
    """

    worker: str
    generation: int
    tick: int | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Some member of `generation` has completed `tick`. To be told at every tick: a crash loop is recognised by its absence."""

    generation: int
    tick: int
    at_s: float


@dataclass(frozen=True, slots=True)
class CheckpointCommitted:
    """Checkpoint `name`, the state as of `tick` of the current call, now outlives the loss of every worker.

    The driver drops what an earlier call's late save reports: its ticks are those of another call.
    """

    name: str
    tick: int
    at_s: float


@dataclass(frozen=True, slots=True)
class UserError:
    """The user's code raised in a worker. Generation 0: before the worker was in any group, while it built the model or opened the data.

    `tick`: so many were complete when it raised. The traceback travels beside the event; nothing here decides by it.
    """

    worker: str
    generation: int
    tick: int
    at_s: float


@dataclass(frozen=True, slots=True)
class CallFinished:
    """`generation` has completed the call, and the driver holds the result."""

    generation: int
    at_s: float


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Ctrl-C or SIGTERM in the driver."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Timer:
    """Time has passed; due at `next_deadline(state, policy)`, harmless at any other time.

    `working`: the workers that say of themselves that they compute, load or open a job. They are given more time, whatever it takes.
    """

    at_s: float
    working: frozenset[str] = frozenset()


Event = (
    WorkerReady
    | StartFailed
    | WorkerLost
    | Silent
    | Stuck
    | GroupStuck
    | ReplicasDiffer
    | Refused
    | PlaceFailed
    | Stopped
    | Progress
    | CheckpointCommitted
    | UserError
    | CallFinished
    | StopRequested
    | Timer
)
