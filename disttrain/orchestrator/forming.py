"""How a generation is formed, and how a call ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from disttrain.orchestrator.effects import Abort, Effect, Form, GiveUp, GiveUpKind
from disttrain.orchestrator.placement import place
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.roster import Roster
from disttrain.orchestrator.shared_tuple import SharedTuple
from disttrain.orchestrator.states import Decision, Ended, Gathering, Holding, Live, Running, Waiting, in_loop, members_of

_NAMED = 16  # so many workers are called by their names in one sentence


def form(roster: Roster, holders: Sequence[Holding], policy: RecoveryPolicy, because: str) -> Decision:
    """The next generation: `holders` in their old order, then the ready in order of arrival, as many as the policy allows.

    The state comes from the holder that is furthest on (of several, the lowest rank), even one tick behind the newest checkpoint: a tick
    has only one possible result, so redoing one is as right as loading it, and faster. Further behind, the checkpoint is loaded: a save
    that was under way when everybody was lost can be told of after the run has begun anew from an older one.

    With `policy.redo_step` it comes from one tick before, where somebody holds that: for a tick that not all have done, nobody can vouch.
    """
    chosen = (*(holding.worker for holding in holders), *roster.ready)[: policy.member_limit]
    held = [(holding.tick, holding.worker) for holding in holders if holding.tick is not None]
    best = max((tick for tick, _ in held), default=None)
    if policy.redo_step and best is not None and any(tick == best - 1 for tick, _ in held):
        best -= 1
    restore = roster.committed
    if restore is not None and best is not None and restore.tick <= best + 1:
        restore = None
    if restore is not None:
        held, tick = [], restore.tick
    else:
        tick = 0 if best is None else best
    source = next((worker for held_tick, worker in held if held_tick == tick), None)
    roster = replace(
        roster,
        generation=roster.generation + 1,
        ready=SharedTuple(roster.ready[max(0, len(chosen) - len(holders)) :]),
    )
    effect = Form(
        generation=roster.generation,
        members=chosen,
        placement=place(policy.virtual_workers, len(chosen)),
        source=source,
        tick=tick,
        restore=None if restore is None else restore.name,
    )
    if source is not None:
        origin = f"from tick {tick} in the memory of {source}"
    elif restore is not None:
        origin = f"from checkpoint {restore.name} of tick {tick}"
    else:
        origin = "from the start"
    why = f"{because}; generation {roster.generation} is {listed(chosen)}, {origin}"
    return Decision(Running(roster, SharedTuple(chosen), tick), (effect,), why)


def form_if_stopped(state: Gathering, at_s: float, policy: RecoveryPolicy, because: str) -> Decision:
    """Once every living member has left the loop: the next generation, a wait for more workers, or the end of patience."""
    if state.still_stepping:
        return Decision(state, because=f"{because}; waiting for {waited_for(state)} to stop")
    roster = state.roster
    if not state.planned:
        tick = max([state.tick] + [holding.tick for holding in state.stopped if holding.tick is not None])
        trouble = roster.trouble.after_break(tick, state.lost, state.reasons)
        roster = replace(roster, trouble=trouble)
        state = replace(state, roster=roster)
        if state.lost and trouble.losses >= policy.poison_limit:
            return give_up(
                state,
                "poison",
                f"{trouble.losses} times in succession workers were lost right after tick {tick} ({listed(trouble.workers)}): "
                f"{'; '.join(dict.fromkeys(trouble.reasons))}. The work that follows it probably kills them; look at its samples, "
                "or at the memory it needs",
                tick=tick,
            )
        if trouble.breaks >= policy.break_limit:
            return give_up(
                state,
                "no_progress",
                f"the group broke {trouble.breaks} times in succession and got no further than tick {trouble.furthest}: "
                "the workers may be unable to reach each other, or die faster than they can restart",
                tick=trouble.furthest,
            )
    by_name = {holding.worker: Holding(holding.worker, None) if state.distrusted else holding for holding in state.stopped}
    return form_if_enough(roster, tuple(by_name[worker] for worker in state.members), at_s, policy, because)


def form_if_enough(roster: Roster, holders: Sequence[Holding], since_s: float, policy: RecoveryPolicy, because: str) -> Decision:
    """The next generation of `holders` and the ready, or a wait that began at `since_s`."""
    living = len(holders) + len(roster.ready)
    if living >= policy.min_workers:
        return form(roster, holders, policy, because)
    keepers = tuple(holding.worker for holding in holders if holding.tick is not None)
    kept = f"its state stays in the memory of {listed(keepers)}" if keepers else "nobody holds its state"
    return Decision(
        Waiting(roster, SharedTuple.of(holders), since_s), because=f"{because}; {living} of {policy.min_workers} workers needed; {kept}"
    )


def give_up(state: Live, kind: GiveUpKind, message: str, tick: int | None = None) -> Decision:
    """End the call with an error; members still in the loop are told to leave it."""
    stepping = in_loop(state)
    abort: tuple[Effect, ...] = (Abort(state.roster.generation, stepping),) if stepping else ()
    return Decision(ended(state, kind), (*abort, GiveUp(kind, message, tick)), message)


def ended(state: Live, outcome: str) -> Ended:
    """The end of a call; the members become the first of the ready."""
    return Ended(replace(state.roster, ready=SharedTuple((*members_of(state), *state.roster.ready))), outcome)


def waited_for(state: Gathering) -> str:
    """Who has not left the loop yet; by number where they are too many for a sentence, and for a walk at each that leaves it."""
    if state.still_stepping > _NAMED:
        return f"{state.still_stepping} of {len(state.members)}"
    return listed(state.stepping)


def listed(workers: Sequence[str]) -> str:
    """Names as a person writes them: "w0", "w0 and w2", "w0, w2 and w3"; "nobody". Of a crowd the first, and how many more."""
    if len(workers) < 2:
        return workers[0] if workers else "nobody"
    if len(workers) > _NAMED:
        return f"{', '.join(workers[: _NAMED - 1])} and {len(workers) - _NAMED + 1} others"
    return f"{', '.join(workers[:-1])} and {workers[-1]}"
