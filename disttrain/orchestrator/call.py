"""What a call does next: its boundaries, its hooks, a stop, its end. Pure, as `decide` is: values in, values out.

Who decides what. `decide` sees what happens to workers and says who is in the group and where its state comes from; it ends a call that
cannot go on. This machine sees what became of the group (`GroupChanged`), and what members and callbacks say of the call; it says when
hooks run, what they answer to, and when the call is over. Neither looks at the other's states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from disttrain.orchestrator.call_events import (
    Boundary,
    BoundaryReached,
    CallEvent,
    Delivered,
    GroupChanged,
    Halted,
    HooksDone,
    Interrupted,
    OutputsArrived,
    RolledBack,
    SaveAbandoned,
    SaveCommitted,
    SaveDue,
    StepsDone,
)
from disttrain.orchestrator.call_states import (
    Ask,
    Awaiting,
    Begin,
    CallDecision,
    CallEffect,
    CallState,
    EndInterrupted,
    Finish,
    Finishing,
    GiveUpHooks,
    Halting,
    InHooks,
    Known,
    Opening,
    Over,
    Proceed,
    RollBack,
    RollingBack,
    RunHooks,
    SaveHeld,
    Stepping,
)

BEFORE_FIRST = "interrupted before the first step"
_FAILED_KEPT = 8


def open_call(*, saves: bool, committed: int | None = None) -> Opening:
    """A call begins; `committed` is the tick of the checkpoint it goes on from, if it does."""
    return Opening(Known(saves, committed=committed))


def advance(state: CallState, event: CallEvent) -> CallDecision:
    """The next state, what to do, and why. What the call has gone past is late, and changes nothing."""
    if isinstance(state, Over):
        return CallDecision(state, because="the call is over")
    rule = CALL_RULES[type(state)].get(type(event))
    if rule is None:
        return CallDecision(state, because=f"{type(event).__name__} changes nothing while {type(state).__name__}")
    decision: CallDecision = rule.then(state, event)
    assert type(decision.state) in rule.leads_to, f"{rule.then.__name__} led to {type(decision.state).__name__}: CALL_RULES does not say so"
    return decision


# ---- the group changes


def told(known: Known, event: GroupChanged) -> Known:
    return replace(known, group=event.group, generation=event.generation, tick=event.tick, restore=event.restore, holder=event.holder)


def follow(known: Known, event: GroupChanged) -> tuple[CallEffect, ...]:
    """What a changed group asks for, whatever the call does meanwhile."""
    if event.group == "running" and known.stop:
        return (Ask(event.generation, "stop"),)
    if event.group == "waiting" and event.holder is not None and not known.is_saved(event.tick):
        return (SaveHeld(event.holder, event.tick),)
    return ()


def group_while_finishing(state: Finishing, event: GroupChanged) -> CallDecision:
    """What a generation has completed stays complete, though it breaks; the next one completes it again."""
    if event.generation == state.known.generation:
        known = told(state.known, event)
        return end_if_complete(replace(state, known=known), follow(known, event))
    return group_while_stepping(state, event)


def group_while_stepping(state: Stepping | Awaiting | Finishing | Halting, event: GroupChanged) -> CallDecision:
    """A boundary that was asked for, a halt, an end: all of it is asked for anew by the next generation."""
    known = told(state.known, event)
    if event.anew:
        return CallDecision(RollingBack(known, event.tick), (RollBack(event.tick, event.restore), *follow(known, event)), "all were lost")
    effects = follow(known, event)
    if not known.stop:
        return CallDecision(Stepping(known), effects, f"the group is {event.group}")
    return end_if_saved(Halting(known), effects, f"the group is {event.group}, and a stop was asked for")


def group_in_hooks(state: InHooks, event: GroupChanged) -> CallDecision:
    known = told(state.known, event)
    if event.anew:
        # Not now: the hook may be in the middle of its work. What it asks of the workers cannot be answered any more.
        after = replace(state, known=known, newer=None, back=event.tick)
        return CallDecision(after, (GiveUpHooks(), *follow(known, event)), "all were lost while hooks ran")
    return CallDecision(replace(state, known=known), follow(known, event), f"the group is {event.group}; hooks run")


def group_rolling_back(state: RollingBack, event: GroupChanged) -> CallDecision:
    known = told(state.known, event)
    if event.anew:
        back = (RollBack(event.tick, event.restore),)
        return CallDecision(RollingBack(known, event.tick), back + follow(known, event), "all were lost, once more")
    return CallDecision(replace(state, known=known), follow(known, event), f"the group is {event.group}")


def group_while_opening(state: Opening, event: GroupChanged) -> CallDecision:
    return CallDecision(Opening(told(state.known, event)))


# ---- boundaries


def boundary_reached(state: Stepping | Halting, event: BoundaryReached) -> CallDecision:
    if event.boundary.generation != state.known.generation:
        return CallDecision(state, because="a boundary of an older generation")
    if not event.complete:
        return CallDecision(Awaiting(state.known, event.boundary), because="the outputs before this boundary are on their way")
    return run_hooks(state.known, event.boundary)


def run_hooks(known: Known, boundary: Boundary) -> CallDecision:
    return CallDecision(InHooks(known, boundary), (RunHooks(boundary),), f"all wait at tick {boundary.tick} for the callbacks")


def outputs_arrived(state: Awaiting, event: OutputsArrived) -> CallDecision:
    return run_hooks(state.known, state.boundary)


def asked_again(state: InHooks | RollingBack, event: BoundaryReached) -> CallDecision:
    if event.boundary.generation != state.known.generation:
        return CallDecision(state, because="a boundary of an older generation")
    return CallDecision(replace(state, newer=event.boundary), because="asked again; the hooks still run")


def hooks_done(state: InHooks, event: HooksDone) -> CallDecision:
    if event.tick != state.boundary.tick:
        return CallDecision(state, because="hooks of another boundary")
    if state.back is not None:
        after = RollingBack(state.known, state.back, state.newer)
        return CallDecision(after, (RollBack(state.back, state.known.restore),), "the hooks have ended; back to the checkpoint")
    return go_on(state.known, (Proceed(event.tick),), f"the callbacks are done with tick {event.tick}")


def go_on(known: Known, effects: tuple[CallEffect, ...], because: str) -> CallDecision:
    """The workers go on, to the next boundary or, if a stop was asked for, to the end of a step."""
    return end_if_saved(Halting(known), effects, because) if known.stop else CallDecision(Stepping(known), effects, because)


def rolled_back(state: RollingBack, event: RolledBack) -> CallDecision:
    if event.tick != state.tick:
        return CallDecision(state, because="an older one")
    if state.newer is not None and state.newer.generation == state.known.generation:
        return run_hooks(state.known, state.newer)
    return go_on(state.known, (), f"the callbacks are back at tick {event.tick}")


def opened(state: Opening, event: HooksDone) -> CallDecision:
    if state.known.stop:
        return CallDecision(Over(state.known, "interrupted"), (EndInterrupted(BEFORE_FIRST),), "a stop was asked for")
    return CallDecision(Stepping(state.known), (Begin(),), "the hooks before the first step have run")


# ---- a stop


def interrupted(state: Stepping | Awaiting, event: Interrupted) -> CallDecision:
    known = replace(state.known, stop=True)
    if known.group == "none":
        return CallDecision(Over(known, "interrupted"), (EndInterrupted(BEFORE_FIRST),), "nothing was trained yet")
    ask = (Ask(known.generation, "stop"),) if known.group == "running" else ()
    if isinstance(state, Awaiting):
        return CallDecision(replace(state, known=known), ask, "a stop was asked for; the callbacks come first")
    return end_if_saved(Halting(known), ask, "a stop was asked for")


def interrupted_meanwhile(state: InHooks | RollingBack, event: Interrupted) -> CallDecision:
    known = replace(state.known, stop=True)
    ask = (Ask(known.generation, "stop"),) if known.group == "running" else ()
    return CallDecision(replace(state, known=known), ask, "a stop was asked for; the callbacks come first")


def noted(state: Opening | Finishing, event: Interrupted) -> CallDecision:
    return CallDecision(replace(state, known=replace(state.known, stop=True)), because="a stop was asked for")


def halted(state: Halting, event: Halted) -> CallDecision:
    if event.generation != state.known.generation or state.known.group != "running":
        return CallDecision(state, because="a halt of an older generation")
    return end_if_saved(replace(state, tick=event.tick), (), f"all stopped after tick {event.tick}")


def end_if_saved(state: Halting, effects: tuple[CallEffect, ...], because: str) -> CallDecision:
    """The end, once all have stopped, or wait for more workers anyway, and the checkpoint of that is there or cannot be."""
    known = state.known
    if known.group == "waiting":
        tick = known.tick if known.holder is not None else None  # nobody holds a state: the newest checkpoint is all there is
        over = tick is None or known.is_saved(tick)
    else:
        over = state.tick is not None and known.is_saved(state.tick)
    if not over:
        return CallDecision(state, effects, because)
    return CallDecision(Over(known, "interrupted"), (*effects, EndInterrupted("interrupted")), f"{because}; nothing is left to save")


# ---- saves and the end


def with_save(known: Known, event: SaveCommitted | SaveAbandoned) -> Known:
    if isinstance(event, SaveAbandoned):
        return replace(known, failed=(*known.failed[1 - _FAILED_KEPT :], event.tick))
    newest = event.tick if known.committed is None else max(event.tick, known.committed)
    return replace(known, committed=newest, failed=tuple(tick for tick in known.failed if tick > newest))


def save_ended(state: Any, event: SaveCommitted | SaveAbandoned) -> CallDecision:
    after = replace(state, known=with_save(state.known, event))
    if isinstance(after, Halting):
        return end_if_saved(after, (), "a save has ended")
    if isinstance(after, Finishing):
        return end_if_complete(after)
    return CallDecision(after, because="a save has ended")


def save_due(state: Stepping, event: SaveDue) -> CallDecision:
    ask = (Ask(state.known.generation, "save"),) if state.known.group == "running" and state.known.saves else ()
    return CallDecision(state, ask, "a checkpoint is due")


def steps_done(state: Stepping | Halting | Finishing, event: StepsDone) -> CallDecision:
    if event.generation != state.known.generation:
        return CallDecision(state, because="the end of an older generation")
    return end_if_complete(Finishing(state.known, event.tick))


def delivered(state: Finishing, event: Delivered) -> CallDecision:
    if event.generation != state.known.generation:
        return CallDecision(state, because="the result of an older generation")
    return end_if_complete(replace(state, delivered=True))


def end_if_complete(state: Finishing, effects: tuple[CallEffect, ...] = ()) -> CallDecision:
    if state.delivered and state.known.is_saved(state.tick):
        return CallDecision(Over(state.known, "finished"), (*effects, Finish()), "the result is here, and kept")
    return CallDecision(state, effects, "the last tick is done; its result or its checkpoint is on its way")


# ---- the table


@dataclass(frozen=True, slots=True)
class CallRule:
    """What happens, and every kind of state that can come of it; `advance` holds the rule to that, and the diagram is drawn from it."""

    then: Callable[[Any, Any], CallDecision]
    leads_to: tuple[type[CallState], ...]


CALL_RULES: Mapping[type[CallState], Mapping[type[CallEvent], CallRule]] = {
    Opening: {
        GroupChanged: CallRule(group_while_opening, (Opening,)),
        HooksDone: CallRule(opened, (Stepping, Over)),
        SaveCommitted: CallRule(save_ended, (Opening,)),
        SaveAbandoned: CallRule(save_ended, (Opening,)),
        Interrupted: CallRule(noted, (Opening,)),
    },
    Stepping: {
        GroupChanged: CallRule(group_while_stepping, (Stepping, RollingBack)),
        BoundaryReached: CallRule(boundary_reached, (Stepping, Awaiting, InHooks)),
        StepsDone: CallRule(steps_done, (Stepping, Finishing)),
        SaveCommitted: CallRule(save_ended, (Stepping,)),
        SaveAbandoned: CallRule(save_ended, (Stepping,)),
        SaveDue: CallRule(save_due, (Stepping,)),
        Interrupted: CallRule(interrupted, (Halting, Over)),
    },
    Awaiting: {
        GroupChanged: CallRule(group_while_stepping, (Stepping, Halting, RollingBack, Over)),
        OutputsArrived: CallRule(outputs_arrived, (InHooks,)),
        Interrupted: CallRule(interrupted, (Awaiting, Over)),
    },
    InHooks: {
        GroupChanged: CallRule(group_in_hooks, (InHooks,)),
        BoundaryReached: CallRule(asked_again, (InHooks,)),
        HooksDone: CallRule(hooks_done, (InHooks, Stepping, Halting, RollingBack, Over)),
        SaveCommitted: CallRule(save_ended, (InHooks,)),
        SaveAbandoned: CallRule(save_ended, (InHooks,)),
        Interrupted: CallRule(interrupted_meanwhile, (InHooks,)),
    },
    RollingBack: {
        GroupChanged: CallRule(group_rolling_back, (RollingBack,)),
        BoundaryReached: CallRule(asked_again, (RollingBack,)),
        RolledBack: CallRule(rolled_back, (RollingBack, InHooks, Stepping, Halting, Over)),
        SaveCommitted: CallRule(save_ended, (RollingBack,)),
        SaveAbandoned: CallRule(save_ended, (RollingBack,)),
        Interrupted: CallRule(interrupted_meanwhile, (RollingBack,)),
    },
    Halting: {
        GroupChanged: CallRule(group_while_stepping, (Halting, RollingBack, Over)),
        BoundaryReached: CallRule(boundary_reached, (Halting, Awaiting, InHooks)),
        Halted: CallRule(halted, (Halting, Over)),
        StepsDone: CallRule(steps_done, (Halting, Finishing)),
        SaveCommitted: CallRule(save_ended, (Halting, Over)),
        SaveAbandoned: CallRule(save_ended, (Halting, Over)),
    },
    Finishing: {
        GroupChanged: CallRule(group_while_finishing, (Finishing, Stepping, Halting, RollingBack, Over)),
        StepsDone: CallRule(steps_done, (Finishing,)),
        Delivered: CallRule(delivered, (Finishing, Over)),
        SaveCommitted: CallRule(save_ended, (Finishing, Over)),
        SaveAbandoned: CallRule(save_ended, (Finishing, Over)),
        Interrupted: CallRule(noted, (Finishing,)),
    },
}
