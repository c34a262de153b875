"""Where a call can stand, and what the driver is to do for it. Frozen values that print and pickle."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain.orchestrator.call_events import Boundary, GroupIs


@dataclass(frozen=True, slots=True)
class Known:
    """What outlives a change of state.

    Args:
        saves: the call keeps checkpoints.
        group, generation, tick, restore, holder: see `GroupChanged`.
        stop: the user asked to stop.
        committed: the tick of the newest checkpoint; `failed`: those of saves that were abandoned since.
    """

    saves: bool
    group: GroupIs = "none"
    generation: int = 0
    tick: int = 0
    restore: str | None = None
    holder: str | None = None
    stop: bool = False
    committed: int | None = None
    failed: tuple[int, ...] = ()

    def is_saved(self, tick: int) -> bool:
        """Is there nothing to wait for: is `tick` committed, abandoned, or nothing kept at all?"""
        return not self.saves or (self.committed is not None and self.committed >= tick) or tick in self.failed


@dataclass(frozen=True, slots=True)
class Opening:
    """The hooks before the first step run; no worker knows of the call yet."""

    known: Known


@dataclass(frozen=True, slots=True)
class Stepping:
    """The workers step, or `decide` gathers a group that will."""

    known: Known


@dataclass(frozen=True, slots=True)
class Awaiting:
    """The workers wait at `boundary`, and the outputs that its hooks are to see are on their way."""

    known: Known
    boundary: Boundary


@dataclass(frozen=True, slots=True)
class InHooks:
    """The script's thread runs the hooks of `boundary`.

    Args:
        newer: the same boundary, or after a loss of all an earlier one, reported by a later generation meanwhile.
        back: every worker was lost meanwhile: once the hooks have ended, the callbacks go back to that tick.
    """

    known: Known
    boundary: Boundary
    newer: Boundary | None = None
    back: int | None = None


@dataclass(frozen=True, slots=True)
class RollingBack:
    """The script's thread puts the callbacks back to `tick`. `newer`: a boundary that was reported meanwhile."""

    known: Known
    tick: int
    newer: Boundary | None = None


@dataclass(frozen=True, slots=True)
class Halting:
    """The workers were asked to stop after a step. `tick`: all did, after that one, whose checkpoint is waited for."""

    known: Known
    tick: int | None = None


@dataclass(frozen=True, slots=True)
class Finishing:
    """The last tick is done; the result, and the checkpoint of `tick`, are waited for."""

    known: Known
    tick: int
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    """The call has ended: "finished" or "interrupted"."""

    known: Known
    outcome: str


CallState = Opening | Stepping | Awaiting | InHooks | RollingBack | Halting | Finishing | Over


# -- effects ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """Pack the job as the hooks left it, tell the workers, and do what `decide` wanted for a new call."""


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Let the script's thread run the hooks of `boundary`; for one whose hooks have run, its decision is known."""

    boundary: Boundary


@dataclass(frozen=True, slots=True)
class GiveUpHooks:
    """Whatever the hooks wait for from the workers is gone: let them end."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Let the script's thread put the callbacks back to `tick`."""

    tick: int
    restore: str | None


@dataclass(frozen=True, slots=True)
class Proceed:
    """Tell the members what was decided at the boundary at `tick`."""

    tick: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the members of `generation` to "save" or to "stop" at their next common step."""

    generation: int
    what: str


@dataclass(frozen=True, slots=True)
class SaveHeld:
    """Let `worker`, which waits with the newest state in its memory, save all of it alone."""

    worker: str
    tick: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Hand the result to the script."""


@dataclass(frozen=True, slots=True)
class EndInterrupted:
    """Raise `Interrupted` in the script's thread, with these words."""

    words: str


CallEffect = Begin | RunHooks | GiveUpHooks | RollBack | Proceed | Ask | SaveHeld | Finish | EndInterrupted


@dataclass(frozen=True, slots=True)
class CallDecision:
    """The next state, what to do, and why."""

    state: CallState
    effects: tuple[CallEffect, ...] = ()
    because: str = ""
