"""Workers that come and workers that go, state by state: the cases of `rules.RULES` that change who belongs to the run."""

from __future__ import annotations

from dataclasses import replace

from disttrain.orchestrator.effects import Abort, Kill, Pause
from disttrain.orchestrator.events import PlaceFailed, Refused, Silent, StartFailed, Stuck, WorkerLost, WorkerReady
from disttrain.orchestrator.forming import form, form_if_enough, form_if_stopped, give_up
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.shared_tuple import SharedTuple
from disttrain.orchestrator.states import (
    NO_HOLDING,
    NOTHING,
    Decision,
    Gathering,
    Live,
    Running,
    Starting,
    Waiting,
    count_members,
    is_member,
)

# ---- workers come


def ready_while_starting(state: Starting, event: WorkerReady, policy: RecoveryPolicy) -> Decision:
    if not state.roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} is not awaited: a late or repeated report")
    roster = state.roster.with_ready(event.worker)
    ready = len(roster.ready)
    if ready >= policy.first_members:
        return form(roster, (), policy, f"{event.worker} is ready, the last of {policy.first_members}")
    first_ready_s = event.at_s if state.first_ready_s is None else state.first_ready_s
    after = replace(state, roster=roster, first_ready_s=first_ready_s)
    return Decision(after, because=f"{event.worker} is ready, {ready} of {policy.first_members}")


def ready_while_running(state: Running, event: WorkerReady, policy: RecoveryPolicy) -> Decision:
    if not state.roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} is not awaited: a late or repeated report")
    roster = state.roster.with_ready(event.worker)
    if len(state.members) >= policy.member_limit:
        after = replace(state, roster=roster)
        return Decision(after, because=f"{event.worker} is ready; the group has its {policy.member_limit} members, so it is a spare")
    pausing = Gathering(roster, state.members, state.tick, NO_HOLDING, NOTHING, planned=True, deadline_s=event.at_s + policy.stop_limit_s)
    return Decision(pausing, (Pause(roster.generation),), f"{event.worker} is ready and joins at the next boundary")


def ready_while_gathering(state: Gathering, event: WorkerReady, policy: RecoveryPolicy) -> Decision:
    if not state.roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} is not awaited: a late or repeated report")
    after = replace(state, roster=state.roster.with_ready(event.worker))
    return Decision(after, because=f"{event.worker} is ready; the next generation takes it in if it has a place")


def ready_while_waiting(state: Waiting, event: WorkerReady, policy: RecoveryPolicy) -> Decision:
    if not state.roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} is not awaited: a late or repeated report")
    return form_if_enough(state.roster.with_ready(event.worker), state.holders, state.since_s, policy, f"{event.worker} is ready")


# ---- workers go


def outsider_lost(state: Live, event: WorkerLost | StartFailed, policy: RecoveryPolicy) -> Decision:
    """The loss of a worker that is in no group: a failed start, or a newcomer that costs nothing but its replacement."""
    roster = state.roster.without_killed(event.worker)
    state = replace(state, roster=roster)
    if roster.ready.has(event.worker):
        roster = roster.with_lost_ready(event.worker)
        after: Live = replace(state, roster=roster)
        if isinstance(after, Starting) and not roster.ready:
            after = replace(after, first_ready_s=None)
        return Decision(after, because=f"lost {event.worker} ({event.reason}), which was in no group")
    if not roster.is_starting(event.worker):
        return Decision(state, because=f"{event.worker} was given up before: a late or repeated report")
    roster = roster.with_failed_start(event.worker, event.at_s, policy)
    after = replace(state, roster=roster)
    failures = roster.start_failures
    if failures >= policy.start_failure_limit and not count_members(after) and not roster.ready:
        return give_up(after, "start_failed", f"workers failed to start {failures} times in a row; {event.worker}: {event.reason}")
    pause_s = max(0.0, roster.start_after_s - event.at_s)
    return Decision(after, because=f"{event.worker} failed to start ({event.reason}), {failures} in a row; next start in {pause_s:g} s")


def blamed(state: Live, event: WorkerLost) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(worker, reason) of a death that may be the step's fault; nothing for a kill of our own."""
    return ((), ()) if state.roster.killed.has(event.worker) else ((event.worker,), (event.reason,))


def lost_while_running(state: Running, event: WorkerLost, policy: RecoveryPolicy) -> Decision:
    if not state.members.has(event.worker):
        return outsider_lost(state, event, policy)
    left = state.members.without(event.worker)
    deadline_s = event.at_s + policy.stop_limit_s
    lost, reasons = blamed(state, event)
    roster = state.roster.without_killed(event.worker)
    gathering = Gathering(
        roster, left, state.tick, NO_HOLDING, SharedTuple(lost), planned=False, deadline_s=deadline_s, reasons=SharedTuple(reasons)
    )
    decision = form_if_stopped(
        gathering, event.at_s, policy, f"lost {event.worker} ({event.reason}) in generation {gathering.roster.generation}"
    )
    abort = (Abort(gathering.roster.generation, left),) if left else ()
    return replace(decision, effects=abort + decision.effects)


def lost_while_gathering(state: Gathering, event: WorkerLost, policy: RecoveryPolicy) -> Decision:
    if not state.members.has(event.worker):
        return outsider_lost(state, event, policy)
    lost, reasons = blamed(state, event)
    after = replace(
        state,
        roster=state.roster.without_killed(event.worker),
        members=state.members.without(event.worker),
        stopped=state.stopped.without(event.worker),
        lost=state.lost.plus_all(lost),
        reasons=state.reasons.plus_all(reasons),
        planned=False,
        # who was asked to pause is told to leave only now: what is left of the pause's time is no measure for that
        deadline_s=event.at_s + policy.stop_limit_s if state.planned else state.deadline_s,
    )
    decision = form_if_stopped(after, event.at_s, policy, f"lost {event.worker} ({event.reason}) while the group was stopping")
    # a pause agrees on its boundary through the group, which the death has broken
    abort = (Abort(state.roster.generation, after.stepping),) if state.planned and after.still_stepping else ()
    return replace(decision, effects=abort + decision.effects)


def lost_while_waiting(state: Waiting, event: WorkerLost, policy: RecoveryPolicy) -> Decision:
    if not state.holders.has(event.worker):
        return outsider_lost(state, event, policy)
    holders = state.holders.without(event.worker)
    roster = state.roster.without_killed(event.worker)
    return form_if_enough(roster, holders, state.since_s, policy, f"lost {event.worker} ({event.reason}) while waiting")


def silent(state: Live, event: Silent, policy: RecoveryPolicy) -> Decision:
    silence_s = event.at_s - event.since_s
    if not is_member(state, event.worker) and not state.roster.ready.has(event.worker):
        return Decision(state, because=f"{event.worker} is silent, but not a worker whose heartbeat is awaited")
    if event.condition == "alive":
        return Decision(state, because=f"{event.worker} has been silent for {silence_s:.3g} s, but its process runs: it is waited for")
    if silence_s < policy.silence_limit_s:
        return Decision(state, because=f"{event.worker} has been silent for {silence_s:.3g} s; {policy.silence_limit_s:g} s are allowed")
    what = "its process is stopped" if event.condition == "stopped" else "it is stopped or cut off"
    return own_kill(state, event.worker, f"{event.worker} has been silent for {silence_s:.3g} s: {what}")


def stuck(state: Live, event: Stuck, policy: RecoveryPolicy) -> Decision:
    roster = state.roster
    if not (is_member(state, event.worker) or roster.ready.has(event.worker) or roster.is_starting(event.worker)):
        return Decision(state, because=f"{event.worker} is stuck, but no worker of the run any more")
    why = f"{event.worker} has been {event.doing} for {event.seconds:.0f} s without progress; {event.limit_s:.0f} s are allowed"
    return own_kill(state, event.worker, why)


def refused(state: Live, event: Refused, policy: RecoveryPolicy) -> Decision:
    roster = state.roster
    if not (is_member(state, event.worker) or roster.ready.has(event.worker) or roster.is_starting(event.worker)):
        return Decision(state, because=f"{event.worker} is refused, but no worker of the run any more")
    return own_kill(state, event.worker, event.because)


def place_failed(state: Live, event: PlaceFailed, policy: RecoveryPolicy) -> Decision:
    """End its process, whatever that can still do, and let a pause go by before the next start: a GPU's memory, say, comes back slowly."""
    roster = state.roster
    if roster.killed.has(event.worker) or not (
        is_member(state, event.worker) or roster.ready.has(event.worker) or roster.is_starting(event.worker)
    ):
        return Decision(state, because=f"the place of {event.worker} failed, but it is no worker of the run any more")
    if not roster.is_starting(event.worker):  # the death of one that starts brings its own
        roster = roster.with_pause(event.at_s, policy, roster.trouble.breaks + 1)
    return own_kill(replace(state, roster=roster), event.worker, f"the place of {event.worker} failed: {event.because}")


def own_kill(state: Live, worker: str, because: str) -> Decision:
    """Kill a worker by a decision of our own, which blames nobody's samples."""
    return Decision(replace(state, roster=state.roster.with_killed((worker,))), (Kill(worker),), because)
