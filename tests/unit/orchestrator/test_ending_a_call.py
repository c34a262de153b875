"""How a call ends: with a result, at the user's request, or because going on is pointless."""

from dataclasses import replace

import pytest

from disttrain.orchestrator import (
    Abort,
    BreakHistory,
    CallFinished,
    Decision,
    Ended,
    Form,
    Gathering,
    GiveUp,
    Holding,
    Kill,
    Pause,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    Starting,
    State,
    Stopped,
    StopRequested,
    UserError,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
    next_deadline,
)

POLICY = RecoveryPolicy(workers=2, virtual_workers=2, poison_limit=3, break_limit=4)
RUNNING = Running(Roster(next_worker=3, generation=4, starting=(Start("w2", 999.0),)), ("w0", "w1"), tick=47)


def lose_one(state: State, worker: str, survivor: str, tick: int) -> Decision:
    """`worker` dies while `survivor` stands at `tick`."""
    lost = decide(state, WorkerLost(worker, "SIGKILL", at_s=100.0), POLICY).state
    return decide(lost, Stopped(survivor, state.roster.generation, tick, at_s=100.1), POLICY)


def join(state: State, worker: str, tick: int) -> Decision:
    """`worker` joins a group of one at `tick`."""
    pausing = decide(state, WorkerReady(worker, at_s=101.0), POLICY).state
    return decide(pausing, Stopped("w0", state.roster.generation, tick, at_s=101.1), POLICY)


def test_the_result_of_the_live_generation_ends_the_call_and_keeps_its_workers():
    decision = decide(RUNNING, CallFinished(4, at_s=100.0), POLICY)
    assert decision.state == Ended(Roster(3, 4, (Start("w2", 999.0),), ready=("w0", "w1")), "finished")
    assert decision.effects == () and next_deadline(decision.state, POLICY) is None


def test_a_result_told_before_the_group_broke_still_counts():
    before = Gathering(Roster(2, 4), ("w1",), 47, (), ("w0",), planned=False, deadline_s=130.0)
    assert isinstance(decide(before, CallFinished(4, at_s=100.0), POLICY).state, Ended)


def test_a_stop_pauses_the_group_so_that_its_state_is_whole():
    decision = decide(RUNNING, StopRequested(at_s=100.0), POLICY)
    assert decision.effects == (Pause(4),)
    assert isinstance(decision.state, Ended) and decision.state.outcome == "stopped"


def test_an_error_of_the_user_ends_the_call_at_once():
    decision = decide(RUNNING, UserError("w1", 4, 48, at_s=100.0), POLICY)
    message = "the script's code raised in w1 at tick 48; never retried"
    assert decision.effects == (Abort(4, ("w0", "w1")), GiveUp("user_error", message, tick=48))


def test_an_error_of_the_user_while_the_first_workers_build_the_model_ends_the_call():
    before = Starting(Roster(2, starting=(Start("w0", 100.0), Start("w1", 100.0))), since_s=0.0)
    decision = decide(before, UserError("w1", 0, 0, at_s=1.0), POLICY)
    assert decision.effects == (GiveUp("user_error", "the script's code raised in w1 before the first tick; never retried"),)


def test_an_error_in_a_newcomer_alone_costs_the_newcomer():
    decision = decide(RUNNING, UserError("w2", 0, 0, at_s=100.0), POLICY)
    assert decision.effects == (Kill("w2"),) and decision.state == replace(RUNNING, roster=RUNNING.roster.with_killed(("w2",)))


def test_one_tick_that_kills_worker_after_worker_ends_the_call_and_is_named():
    second = join(lose_one(RUNNING, "w1", "w0", 47).state, "w2", 47).state
    third = join(lose_one(second, "w2", "w0", 47).state, "w3", 47).state
    decision = lose_one(third, "w3", "w0", 47)
    (effect,) = decision.effects
    assert isinstance(effect, GiveUp) and effect.kind == "poison" and effect.tick == 47
    assert effect.message.startswith("3 times in succession workers were lost right after tick 47 (w1, w2 and w3)")


def test_losses_with_progress_between_are_no_poison():
    state: State = RUNNING
    for tick, dead, newcomer in ((47, "w1", "w2"), (48, "w2", "w3"), (49, "w3", "w4"), (50, "w4", "w5")):
        state = join(lose_one(state, dead, "w0", tick).state, newcomer, tick).state
    assert isinstance(state, Running) and state.members == ("w0", "w5")


def test_workers_that_die_together_are_no_poison():
    before = Running(Roster(next_worker=5, generation=4), ("w0", "w1", "w2", "w3", "w4"), tick=47)
    state: State = before
    for worker in ("w1", "w2", "w3", "w4"):
        state = decide(state, WorkerLost(worker, "node lost", at_s=100.0), POLICY).state
    decision = decide(state, Stopped("w0", 4, 47, at_s=100.1), POLICY)
    assert isinstance(decision.effects[0], Form)
    assert decision.state.roster.trouble == BreakHistory(
        tick=47, losses=1, workers=("w1", "w2", "w3", "w4"), reasons=("node lost",) * 4, furthest=47, breaks=1
    )


def test_a_group_that_breaks_for_ever_without_a_death_ends_the_call():
    state: State = Running(Roster(next_worker=2, generation=1), ("w0", "w1"), tick=47)
    for generation in (1, 2, 3):
        half = decide(state, Stopped("w0", generation, 47, at_s=100.0), POLICY).state
        state = decide(half, Stopped("w1", generation, 47, at_s=100.1), POLICY).state
        assert isinstance(state, Running)
    half = decide(state, Stopped("w0", 4, 47, at_s=100.0), POLICY).state
    (effect,) = decide(half, Stopped("w1", 4, 47, at_s=100.1), POLICY).effects
    assert isinstance(effect, GiveUp) and effect.kind == "no_progress" and "4 times in succession" in effect.message


def test_redoing_lost_ticks_is_no_progress_beyond_where_the_run_once_was():
    trouble = BreakHistory()
    for tick in (100, 95, 99, 97):  # killed at 100, then from checkpoint 90 again and again
        trouble = trouble.after_break(tick, ("w0",))
    assert (trouble.furthest, trouble.breaks, trouble.losses) == (100, 4, 1)
    assert trouble.after_break(101, ()).breaks == 1


@pytest.mark.parametrize("event", [WorkerReady("w9", 1.0), Stopped("w0", 4, 3, 1.0), CallFinished(4, 1.0), StopRequested(1.0)])
def test_after_the_end_nothing_has_an_effect(event):
    state = Ended(Roster(3, 4, ready=("w0",)), "finished")
    assert decide(state, event, POLICY) == Decision(state, because="nothing to do: the call has ended (finished)")


def test_giving_up_while_waiting_leaves_the_stopped_alone():
    waiting = Waiting(Roster(2, 4), (Holding("w0", 47),), since_s=0.0)
    decision = decide(waiting, UserError("w1", 4, 48, at_s=1.0), POLICY)
    assert [type(effect) for effect in decision.effects] == [GiveUp]
