"""What a run does next. Values in, values out: no clock, no Ray, no files.

decision = first_call(policy, at_s=clock.monotonic_s())
while not isinstance(decision.state, Ended):
    ... log decision.because, perform decision.effects, take the next event from the cluster,
    ... or a Timer once next_deadline(decision.state, policy) is past
    decision = decide(decision.state, event, policy)
"""

from __future__ import annotations

from dataclasses import replace

from disttrain.orchestrator.events import Event, StartFailed
from disttrain.orchestrator.forming import ended, form, listed
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.roster import BreakHistory, Commit, Roster
from disttrain.orchestrator.rules import RULES, abandoned, keep_roster_true, state_deadline
from disttrain.orchestrator.states import Decision, Ended, Starting, State, count_members, is_member


class IllegalTransition(RuntimeError):
    """An event that cannot be in this state: a bug of ours, in an adapter or here. Never caused by a failure, however unlikely."""

    def __init__(self, state: State, event: Event, why: str = "no rule") -> None:
        super().__init__(state, event, why)
        self.state, self.event, self.why = state, event, why

    def __str__(self) -> str:
        return f"{type(self.event).__name__} in {type(self.state).__name__}: {self.why}\n  event  {self.event!r}\n  state  {self.state!r}"


def decide(state: State, event: Event, policy: RecoveryPolicy) -> Decision:
    """The next state, what to do, and why.

    Raises:
        IllegalTransition: the event names a worker or a generation that never was.
    """
    if isinstance(state, Ended):
        after = replace(state, roster=keep_roster_true(state.roster, event, policy))
        return Decision(after, because=f"nothing to do: the call has ended ({state.outcome})")
    _refuse_the_impossible(state, event)
    rule = RULES[type(state)].get(type(event))
    if rule is None:
        raise IllegalTransition(state, event)
    decision = rule.then(state, event, policy)
    assert type(decision.state) in rule.leads_to, f"{rule.then.__name__} led to {type(decision.state).__name__}: RULES does not say so"
    return _staffed(decision, event.at_s, policy)


def next_deadline(state: State, policy: RecoveryPolicy) -> float | None:
    """When the driver is to send a Timer, in monotonic seconds; None: time alone changes nothing."""
    if isinstance(state, Ended):
        return None
    times = (state_deadline(state, policy), state.roster.next_deadline(count_members(state), policy))
    return min((time for time in times if time is not None), default=None)


def first_call(policy: RecoveryPolicy, at_s: float, committed: Commit | None = None) -> Decision:
    """Begin a run with no worker. `committed`: the checkpoint to go on from, when an earlier attempt left one of this call."""
    return new_call(Ended(Roster(), outcome="nothing ran"), policy, at_s, committed)


def new_call(state: State, policy: RecoveryPolicy, at_s: float, committed: Commit | None = None) -> Decision:
    """Begin the next `fit`, `evaluate` or `predict` with the workers that live. Names and generations go on, so neither comes twice.

    Nothing that workers hold in memory counts for the new call. With `min_workers` living it begins at once: who is still starting can
    join later and costs nobody a wait.
    """
    roster = state.roster if isinstance(state, Ended) else ended(state, "over").roster
    roster = replace(roster, committed=committed, trouble=BreakHistory(), start_failures=0)
    if len(roster.ready) >= policy.min_workers:
        decision = form(roster, (), policy, f"a new call; {len(roster.ready)} workers live")
    else:
        waiting = Starting(roster, since_s=at_s, first_ready_s=at_s if roster.ready else None)
        decision = Decision(waiting, because=f"a new call; {len(roster.ready)} workers live, {policy.first_members} wanted")
    return _staffed(replace(decision, effects=abandoned(state) + decision.effects), at_s, policy)


def _staffed(decision: Decision, at_s: float, policy: RecoveryPolicy) -> Decision:
    """Replace what was lost, last: the living are told first, a start can wait."""
    state = decision.state
    if isinstance(state, Ended):
        return decision
    roster, starts = state.roster.staffed(count_members(state), at_s, policy)
    if not starts:
        return decision
    because = f"{decision.because}; starting {listed(tuple(start.worker for start in starts))}"
    return Decision(replace(state, roster=roster), decision.effects + starts, because)


def _refuse_the_impossible(state: State, event: Event) -> None:
    """What no failure, no delay and no repetition can explain."""
    worker = getattr(event, "worker", None)
    if worker is not None and not state.roster.made(worker):
        raise IllegalTransition(state, event, f"no worker was ever named {worker!r}")
    generation = getattr(event, "generation", None)
    if generation is not None and generation > state.roster.generation:
        raise IllegalTransition(state, event, f"generation {generation} was never formed; the newest is {state.roster.generation}")
    if isinstance(event, StartFailed) and (is_member(state, event.worker) or state.roster.ready.has(event.worker)):
        raise IllegalTransition(state, event, f"{event.worker} has started; its death is WorkerLost")
