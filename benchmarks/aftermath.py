"""What the stamps around a kill say: how long until a step was completed again, and what was done twice. Pure.

A process stamps each forward pass. Replicas advance together, so a process that begins step n + 1 right after step n has completed n.
Run `python -m doctest aftermath.py` to check the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from stamps import Stamp


@dataclass(frozen=True)
class Aftermath:
    """Of one kill.

    Args:
        next_step_s: from the kill to the end of the first step that began after the kill and was completed, be it new or one redone.
            The interrupted step itself does not count where a survivor had begun it before the kill, so a system that goes on in place is
            charged for redoing the interrupted step and for one more.
        new_ground_s: from the kill until the step after the interrupted one was completed: all that was lost is made up for.
        steps_redone: completed steps that had to be done again; the interrupted one was not completed and does not count.
    """

    next_step_s: float
    new_ground_s: float
    steps_redone: int


def aftermath(found: Sequence[Stamp], kill_ns: int, victim: int) -> Aftermath | None:
    """The figures of a kill of process `victim` at `kill_ns`; None while new ground has not been reached.

    Args:
        found: stamps in the order of time, from a while before the kill; step numbers must not wrap (see `unwrapped`).

    Example, two processes; 1 is killed at 100 ns during step 7; 2 redoes it alone, then completes step 8:
        >>> before = [Stamp(80, 6, 1), Stamp(81, 6, 2), Stamp(90, 7, 1), Stamp(91, 7, 2)]
        >>> after = [Stamp(150, 7, 2), Stamp(160, 8, 2), Stamp(170, 9, 2)]
        >>> aftermath([*before, *after], kill_ns=100, victim=1)
        Aftermath(next_step_s=7e-08, new_ground_s=7e-08, steps_redone=0)

    The same kill, but everything starts again as process 3, from a checkpoint of the state after step 4:
        >>> after = [Stamp(200 + 10 * step, step, 3) for step in (5, 6, 7, 8, 9)]
        >>> aftermath([*before, *after], kill_ns=100, victim=1)
        Aftermath(next_step_s=1.6e-07, new_ground_s=1.9e-07, steps_redone=2)
    """
    interrupted = max((one.step for one in found if one.at_ns <= kill_ns or one.pid == victim), default=None)
    if interrupted is None:
        return None
    after = [one for one in found if one.at_ns > kill_ns and one.pid != victim]
    new_ground = next((one.at_ns for one in after if one.step >= interrupted + 2), None)
    completed = []
    for process in {one.pid for one in after}:
        # A process stamps a step once for each slice it computes, and again when it redoes the step in place: one pass, begun at its first.
        passes = [next(group) for _, group in groupby((one for one in found if one.pid == process), key=lambda one: one.step)]
        completed += [later.at_ns for this, later in pairwise(passes) if this.at_ns > kill_ns and later.step == this.step + 1]
    if new_ground is None or not completed:
        return None
    redone = max(0, interrupted - min(one.step for one in after))
    return Aftermath((min(completed) - kill_ns) / 1e9, (new_ground - kill_ns) / 1e9, redone)


def unwrapped(found: Sequence[Stamp], period: int) -> list[Stamp]:
    """Stamps whose steps began at 0 in each epoch of `period` steps, counted on instead; processes are less than half an epoch apart.

    Example:
        >>> [one.step for one in unwrapped([Stamp(1, 198, 1), Stamp(2, 199, 1), Stamp(3, 0, 1), Stamp(4, 199, 2), Stamp(5, 1, 1)], 200)]
        [198, 199, 200, 199, 201]
    """
    steps, made = 0 if not found else found[0].step, []
    for one in found:
        steps += (one.step - steps + period // 2) % period - period // 2
        made.append(Stamp(one.at_ns, steps, one.pid))
    return made
