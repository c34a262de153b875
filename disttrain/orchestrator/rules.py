"""What each event means in each state: one small function a case (those about workers coming and going stand in `membership`), and
`RULES`, the table of them all.

A rule looks after its own case alone. Two things are done around it, in `decide`: refusing what cannot be, and starting the workers
that are missing afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from disttrain.orchestrator.effects import Abort, Kill, Pause
from disttrain.orchestrator.events import (
    CallFinished,
    CheckpointCommitted,
    Event,
    GroupStuck,
    PlaceFailed,
    Progress,
    Refused,
    ReplicasDiffer,
    Silent,
    StartFailed,
    Stopped,
    StopRequested,
    Stuck,
    Timer,
    UserError,
    WorkerLost,
    WorkerReady,
)
from disttrain.orchestrator.forming import ended, form, form_if_stopped, give_up, listed
from disttrain.orchestrator.membership import (
    lost_while_gathering,
    lost_while_running,
    lost_while_waiting,
    outsider_lost,
    own_kill,
    place_failed,
    ready_while_gathering,
    ready_while_running,
    ready_while_starting,
    ready_while_waiting,
    refused,
    silent,
    stuck,
)
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.roster import Commit, Roster
from disttrain.orchestrator.shared_tuple import SharedTuple
from disttrain.orchestrator.states import (
    NO_HOLDING,
    NOTHING,
    Decision,
    Ended,
    Gathering,
    Holding,
    Live,
    Running,
    Starting,
    State,
    Waiting,
    count_members,
    in_loop,
)

# ---- members report


def stopped_while_running(state: Running, event: Stopped, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation or not state.members.has(event.worker):
        return late(state, event, policy)
    # it saw a broken connection before anybody knew of a death; the others may see nothing
    stopped, deadline_s = SharedTuple((Holding(event.worker, event.tick),)), event.at_s + policy.stop_limit_s
    gathering = Gathering(state.roster, state.members, state.tick, stopped, NOTHING, planned=False, deadline_s=deadline_s)
    decision = form_if_stopped(gathering, event.at_s, policy, f"{event.worker} found generation {event.generation} broken")
    abort = (Abort(event.generation, gathering.stepping),) if gathering.still_stepping else ()
    return replace(decision, effects=abort + decision.effects)


def stopped_while_gathering(state: Gathering, event: Stopped, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation or not state.is_stepping(event.worker):
        return late(state, event, policy)
    after = replace(state, stopped=state.stopped.plus(Holding(event.worker, event.tick)))
    held = "no state" if event.tick is None else f"the state of tick {event.tick}"
    return form_if_stopped(after, event.at_s, policy, f"{event.worker} stopped with {held}")


def progress(state: Running | Gathering, event: Progress, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation or event.tick <= state.tick:
        return late(state, event, policy)
    return Decision(replace(state, tick=event.tick), because=f"tick {event.tick} is complete")


def committed(state: Live, event: CheckpointCommitted, policy: RecoveryPolicy) -> Decision:
    newest = state.roster.committed
    if newest is not None and event.tick <= newest.tick:
        return Decision(state, because=f"{event.name} of tick {event.tick} is not newer than {newest.name} of tick {newest.tick}")
    after = replace(state, roster=state.roster.with_commit(Commit(event.name, event.tick)))
    return Decision(after, because=f"checkpoint {event.name} of tick {event.tick} is committed")


def finished(state: Live, event: CallFinished, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation:
        return late(state, event, policy)
    return Decision(ended(state, "finished"), because=f"generation {event.generation} has finished the call")


def user_error(state: Live, event: UserError, policy: RecoveryPolicy) -> Decision:
    if event.generation == 0 and not isinstance(state, Starting):
        return newcomer_raised(state, event)
    if event.generation < state.roster.generation:
        return late(state, event, policy)
    return give_up(state, "user_error", f"the script's code raised in {event.worker} at tick {event.tick}; never retried", tick=event.tick)


def user_error_while_starting(state: Starting, event: UserError, policy: RecoveryPolicy) -> Decision:
    known = state.roster.ready.has(event.worker) or state.roster.is_starting(event.worker)
    if event.generation > 0 or not known:
        return late(state, event, policy)
    return give_up(state, "user_error", f"the script's code raised in {event.worker} before the first tick; never retried")


def newcomer_raised(state: Live, event: UserError) -> Decision:
    """The same code has run in the workers of the group, so the place is at fault (a missing file, say): no reason to end the call."""
    if not state.roster.ready.has(event.worker) and not state.roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} is no newcomer: a late or repeated report")
    return own_kill(state, event.worker, f"the script's code raised in newcomer {event.worker}, though it runs in others: replacing it")


def group_stuck(state: Running, event: GroupStuck, policy: RecoveryPolicy) -> Decision:
    """Nobody works and nobody gets on: let all of them leave the group and form another, which costs no worker."""
    if event.generation < state.roster.generation:
        return late(state, event, policy)
    deadline_s = event.at_s + policy.stop_limit_s
    gathering = Gathering(state.roster, state.members, state.tick, NO_HOLDING, NOTHING, planned=False, deadline_s=deadline_s)
    why = f"all of generation {event.generation} have waited for each other for {event.seconds:.0f} s"
    return Decision(gathering, (Abort(event.generation, state.members),), why)


def group_stuck_while_gathering(state: Gathering, event: GroupStuck, policy: RecoveryPolicy) -> Decision:
    """A pause is agreed on through the group, and nothing gets through it: break it, as above."""
    if event.generation < state.roster.generation or not state.planned:
        return late(state, event, policy)
    after = replace(state, planned=False, deadline_s=event.at_s + policy.stop_limit_s)
    why = f"{listed(state.stepping)} have waited for each other for {event.seconds:.0f} s instead of pausing"
    return Decision(after, (Abort(event.generation, state.stepping),), why)


def replicas_differ(state: Running, event: ReplicasDiffer, policy: RecoveryPolicy) -> Decision:
    """Nobody knows yet who erred, so all go back to where they agreed."""
    if event.generation < state.roster.generation:
        return late(state, event, policy)
    gathering = Gathering(
        state.roster, state.members, state.tick, NO_HOLDING, NOTHING, planned=False, deadline_s=event.at_s + policy.stop_limit_s,
        distrusted=True,
    )  # fmt: skip
    why = f"the states of generation {event.generation} differ as of tick {event.tick}"
    return Decision(gathering, (Abort(event.generation, state.members),), why)


def replicas_differ_while_gathering(state: Gathering, event: ReplicasDiffer, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation or state.distrusted:
        return late(state, event, policy)
    after = replace(state, distrusted=True, planned=False)
    abort = (Abort(event.generation, state.stepping),) if state.planned else ()  # others are told to leave already
    return Decision(after, abort, f"the states of generation {event.generation} differ as of tick {event.tick}")


def replicas_differ_while_waiting(state: Waiting, event: ReplicasDiffer, policy: RecoveryPolicy) -> Decision:
    if event.generation < state.roster.generation:
        return late(state, event, policy)
    after = replace(state, holders=SharedTuple(Holding(holding.worker, None) for holding in state.holders))
    return Decision(after, because=f"the states of generation {event.generation} differed as of tick {event.tick}: nobody's counts")


def late(state: State, event: Event, policy: RecoveryPolicy) -> Decision:
    """A report that the run has gone past: of an older generation, of a former member, or told twice."""
    return Decision(state, because=f"nothing to do: {type(event).__name__} is late or repeated")


# ---- the user and the clock


def stop_requested(state: Live, event: StopRequested, policy: RecoveryPolicy) -> Decision:
    effects = (Pause(state.roster.generation),) if isinstance(state, Running) else ()
    return Decision(ended(state, "stopped"), effects, "a stop was requested")


def timer(state: Live, event: Timer, policy: RecoveryPolicy) -> Decision:
    """First the starts that take too long, then the limit of the state itself."""
    overdue = state.roster.overdue(event.at_s, event.working)
    state = replace(state, roster=state.roster.with_patience(event.at_s, policy).with_killed(overdue))
    limit_s = state_deadline(state, policy)
    if limit_s is not None and limit_s <= event.at_s:
        decision = limit_reached(state, event, policy)
    else:
        decision = Decision(state, because="no limit is reached" if not overdue else "")
    because = [f"{listed(overdue)} took too long to start"] if overdue else []
    return Decision(
        decision.state,
        tuple(Kill(worker) for worker in overdue) + decision.effects,
        "; ".join(because + [decision.because] * bool(decision.because)),
    )


def state_deadline(state: State, policy: RecoveryPolicy) -> float | None:
    """When the state itself, apart from its roster, runs out of patience."""
    match state:
        case Starting() if state.first_ready_s is not None and len(state.roster.ready) >= policy.min_workers:
            return state.first_ready_s + policy.start_grace_s
        case Starting() | Waiting():
            return state.since_s + policy.wait_s
        case Gathering():
            return state.deadline_s
        case _:
            return None


def limit_reached(state: Live, event: Timer, policy: RecoveryPolicy) -> Decision:
    """What `state_deadline` leads to."""
    living = len(state.roster.ready) + count_members(state)
    if isinstance(state, Gathering):
        return gathering_takes_long(state, event, policy)
    if isinstance(state, Starting) and living >= policy.min_workers:
        return form(state.roster, (), policy, f"{living} of {policy.first_members} workers are ready and the others are late")
    if isinstance(state, Starting) and event.working:
        return Decision(replace(state, since_s=event.at_s), because=f"{listed(tuple(sorted(event.working)))} still get ready")
    return give_up(state, "not_enough_workers", f"only {living} of {policy.min_workers} workers after {policy.wait_s:g} s")


def gathering_takes_long(state: Gathering, event: Timer, policy: RecoveryPolicy) -> Decision:
    """Who works is waited for: it hears an abort at the end of its step. Who does not, and has not left, is stuck."""
    working = tuple(worker for worker in state.stepping if worker in event.working)
    idle = tuple(worker for worker in state.stepping if worker not in event.working)
    after = replace(state, deadline_s=event.at_s + policy.stop_limit_s)
    if working and (state.planned or not idle):
        return Decision(after, because=f"{listed(working)} still work on a step: waited for")
    if state.planned:
        # they may be well and merely in a long tick: break it first, which costs that tick and not the worker
        return Decision(replace(after, planned=False), (Abort(state.roster.generation, idle),), f"{listed(idle)} did not pause in time")
    after = replace(after, roster=state.roster.with_killed(idle))
    return Decision(after, tuple(Kill(worker) for worker in idle), f"{listed(idle)} did not leave the broken group in time")


# ---- the table


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens, and every kind of state that can come of it. `decide` holds the rule to that, so diagrams can be drawn from it."""

    then: Callable[[Any, Any, RecoveryPolicy], Decision]
    leads_to: tuple[type[State], ...]


RULES: Mapping[type[State], Mapping[type[Event], Rule]] = {
    Starting: {
        WorkerReady: Rule(ready_while_starting, (Starting, Running)),
        StartFailed: Rule(outsider_lost, (Starting, Ended)),
        WorkerLost: Rule(outsider_lost, (Starting, Ended)),
        Silent: Rule(silent, (Starting,)),
        Stuck: Rule(stuck, (Starting,)),
        GroupStuck: Rule(late, (Starting,)),
        ReplicasDiffer: Rule(late, (Starting,)),
        Refused: Rule(refused, (Starting,)),
        PlaceFailed: Rule(place_failed, (Starting,)),
        Stopped: Rule(late, (Starting,)),
        Progress: Rule(late, (Starting,)),
        CheckpointCommitted: Rule(late, (Starting,)),
        UserError: Rule(user_error_while_starting, (Starting, Ended)),
        CallFinished: Rule(late, (Starting,)),
        StopRequested: Rule(stop_requested, (Ended,)),
        Timer: Rule(timer, (Starting, Running, Ended)),
    },
    Running: {
        WorkerReady: Rule(ready_while_running, (Running, Gathering)),
        StartFailed: Rule(outsider_lost, (Running,)),
        WorkerLost: Rule(lost_while_running, (Running, Gathering, Waiting, Ended)),
        Silent: Rule(silent, (Running,)),
        Stuck: Rule(stuck, (Running,)),
        GroupStuck: Rule(group_stuck, (Running, Gathering)),
        ReplicasDiffer: Rule(replicas_differ, (Running, Gathering)),
        Refused: Rule(refused, (Running,)),
        PlaceFailed: Rule(place_failed, (Running,)),
        Stopped: Rule(stopped_while_running, (Running, Gathering, Ended)),
        Progress: Rule(progress, (Running,)),
        CheckpointCommitted: Rule(committed, (Running,)),
        UserError: Rule(user_error, (Running, Ended)),
        CallFinished: Rule(finished, (Running, Ended)),
        StopRequested: Rule(stop_requested, (Ended,)),
        Timer: Rule(timer, (Running,)),
    },
    Gathering: {
        WorkerReady: Rule(ready_while_gathering, (Gathering,)),
        StartFailed: Rule(outsider_lost, (Gathering,)),
        WorkerLost: Rule(lost_while_gathering, (Gathering, Running, Waiting, Ended)),
        Silent: Rule(silent, (Gathering,)),
        Stuck: Rule(stuck, (Gathering,)),
        GroupStuck: Rule(group_stuck_while_gathering, (Gathering,)),
        ReplicasDiffer: Rule(replicas_differ_while_gathering, (Gathering,)),
        Refused: Rule(refused, (Gathering,)),
        PlaceFailed: Rule(place_failed, (Gathering,)),
        Stopped: Rule(stopped_while_gathering, (Gathering, Running, Waiting, Ended)),
        Progress: Rule(progress, (Gathering,)),
        CheckpointCommitted: Rule(committed, (Gathering,)),
        UserError: Rule(user_error, (Gathering, Ended)),
        CallFinished: Rule(finished, (Gathering, Ended)),
        StopRequested: Rule(stop_requested, (Ended,)),
        Timer: Rule(timer, (Gathering,)),
    },
    Waiting: {
        WorkerReady: Rule(ready_while_waiting, (Waiting, Running)),
        StartFailed: Rule(outsider_lost, (Waiting, Ended)),
        WorkerLost: Rule(lost_while_waiting, (Waiting, Ended)),
        Silent: Rule(silent, (Waiting,)),
        Stuck: Rule(stuck, (Waiting,)),
        GroupStuck: Rule(late, (Waiting,)),
        ReplicasDiffer: Rule(replicas_differ_while_waiting, (Waiting,)),
        Refused: Rule(refused, (Waiting,)),
        PlaceFailed: Rule(place_failed, (Waiting,)),
        Stopped: Rule(late, (Waiting,)),
        Progress: Rule(late, (Waiting,)),
        CheckpointCommitted: Rule(committed, (Waiting,)),
        UserError: Rule(user_error, (Waiting, Ended)),
        CallFinished: Rule(finished, (Waiting, Ended)),
        StopRequested: Rule(stop_requested, (Ended,)),
        Timer: Rule(timer, (Waiting, Ended)),
    },
}


# ---- after the call


def keep_roster_true(roster: Roster, event: Event, policy: RecoveryPolicy) -> Roster:
    """Between two calls: only who lives and who starts is kept up, for the next call to begin with."""
    match event:
        case WorkerReady() if roster.is_starting(event.worker):
            return roster.with_ready(event.worker)
        case WorkerLost() if roster.killed.has(event.worker):
            return keep_roster_true(roster.without_killed(event.worker), event, policy)
        case WorkerLost() | StartFailed() if roster.is_starting(event.worker):
            return roster.with_failed_start(event.worker, event.at_s, policy)
        case WorkerLost():
            return roster.with_lost_ready(event.worker)
        case _:
            return roster


def abandoned(state: State) -> tuple[Abort, ...]:
    """What leaves nobody in the loop of a call that is given up for the next."""
    stepping = in_loop(state)
    return (Abort(state.roster.generation, stepping),) if stepping else ()
