"""A stretch of undisturbed training: how many steps and saves fit into it. Worked out at once, however many there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Pace:
    """How a group works: steps of `step_s`, and a save that stalls it for `stall_s` every `every_s`, after a whole step."""

    step_s: float
    stall_s: float
    every_s: float

    def steps_before_save(self, since_s: float) -> int:
        """Steps until the next save, `since_s` after the last one began."""
        return max(1, math.ceil((self.every_s - since_s) / self.step_s - _ROUNDING))

    def stretch(self, seconds: float, since_s: float) -> Stretch:
        """What is done in `seconds`, which begin `since_s` after the last save began."""
        first, cycle = self.steps_before_save(since_s), self.steps_before_save(self.stall_s)
        first_s, cycle_s = first * self.step_s + self.stall_s, cycle * self.step_s + self.stall_s
        if seconds < first_s - _ROUNDING:
            saves, steps, left = 0, 0, seconds
        else:
            more = math.floor((seconds - first_s) / cycle_s + _ROUNDING)
            saves, steps, left = 1 + more, first + more * cycle, max(0.0, seconds - first_s - more * cycle_s)
        until_save = cycle if saves else first
        done = min(until_save, math.floor(left / self.step_s + _ROUNDING))
        rest = max(0.0, left - done * self.step_s)
        stalled = done == until_save
        return Stretch(
            pace=self, steps=steps + done, saves=saves, steps_since_save=done, cycle=cycle,
            stall_s=saves * self.stall_s + (rest if stalled else 0.0), partial_s=0.0 if stalled else rest,
            to_boundary_s=(self.stall_s if stalled else self.step_s) - rest,
            since_s=left + self.stall_s if saves else since_s + seconds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was done.

    Args:
        steps: completed. saves: completed too; `steps_since_save` came after the last of them, `cycle` between two.
        stall_s: in saves, one of them perhaps unfinished. partial_s: in a step that is not complete.
        to_boundary_s: until the next end of a step or save.
        since_s: since the last save began.
    """

    pace: Pace
    steps: int
    saves: int
    steps_since_save: int
    cycle: int
    stall_s: float
    partial_s: float
    to_boundary_s: float
    since_s: float

    def save(self, back: int) -> tuple[int, float] | None:
        """Of the last save but `back`: how many steps of the stretch it holds, and how long ago its stall ended."""
        if back >= self.saves:
            return None
        cycle_s = self.cycle * self.pace.step_s + self.pace.stall_s
        return self.steps - self.steps_since_save - back * self.cycle, self.since_s - self.pace.stall_s + back * cycle_s
