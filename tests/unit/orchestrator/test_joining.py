"""Newcomers: they join at a boundary, and cost nobody a wait."""

from disttrain.orchestrator import (
    Abort,
    Form,
    Gathering,
    GroupStuck,
    Holding,
    Kill,
    Pause,
    Progress,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    StartWorker,
    Stopped,
    Timer,
    WorkerLost,
    WorkerReady,
    decide,
)

POLICY = RecoveryPolicy(workers=4, virtual_workers=4, stop_limit_s=30.0, start_limit_s=100.0)
STARTS = (Start("w2", 200.0), Start("w3", 200.0))
RUNNING = Running(Roster(next_worker=4, generation=2, starting=STARTS), ("w0", "w1"), tick=10)
PAUSING = Gathering(
    Roster(next_worker=4, generation=2, starting=(Start("w3", 200.0),), ready=("w2",)),
    ("w0", "w1"),
    10,
    stopped=(),
    lost=(),
    planned=True,
    deadline_s=130.0,
)


def test_a_newcomer_pauses_the_group_at_its_next_boundary():
    decision = decide(RUNNING, WorkerReady("w2", at_s=100.0), POLICY)
    assert decision.state == PAUSING
    assert decision.effects == (Pause(2),)
    assert decision.because == "w2 is ready and joins at the next boundary"


def test_newcomers_that_are_ready_in_time_join_together_and_nobody_is_asked_to_pause_twice():
    second = decide(PAUSING, WorkerReady("w3", at_s=100.1), POLICY)
    assert second.effects == ()
    stopped = decide(second.state, Stopped("w1", 2, 11, at_s=100.2), POLICY).state
    decision = decide(stopped, Stopped("w0", 2, 11, at_s=100.3), POLICY)
    assert decision.effects == (Form(3, ("w0", "w1", "w2", "w3"), ((0, 1), (1, 2), (2, 3), (3, 4)), source="w0", tick=11, restore=None),)
    assert decision.state == Running(Roster(next_worker=4, generation=3), ("w0", "w1", "w2", "w3"), tick=11)


def test_a_newcomer_lost_while_it_waits_costs_nothing_but_a_replacement():
    decision = decide(PAUSING, WorkerLost("w2", "SIGKILL", at_s=100.1), POLICY)
    assert decision.effects == (StartWorker("w4"),)
    assert isinstance(decision.state, Gathering) and decision.state.members == ("w0", "w1") and decision.state.planned


def test_a_death_late_in_a_pause_leaves_the_others_the_full_time_to_leave_the_group():
    decision = decide(PAUSING, WorkerLost("w0", "SIGKILL", at_s=129.9), POLICY)
    assert isinstance(decision.state, Gathering) and decision.state.deadline_s == 159.9
    assert decide(decision.state, Timer(130.0), POLICY).effects == ()


def test_a_pause_through_which_nothing_gets_because_all_wait_for_each_other_is_broken_off():
    decision = decide(PAUSING, GroupStuck(2, seconds=301.0, at_s=125.0), POLICY)
    assert decision.effects == (Abort(2, ("w0", "w1")),)
    assert isinstance(decision.state, Gathering) and not decision.state.planned and decision.state.deadline_s == 155.0
    assert decide(decision.state, GroupStuck(2, seconds=302.0, at_s=126.0), POLICY).effects == ()


def test_a_death_during_a_pause_aborts_those_still_in_the_loop():
    three = Gathering(Roster(next_worker=3, generation=2), ("w0", "w1", "w2"), 10, (Holding("w0", 11),), (), True, 130.0)
    decision = decide(three, WorkerLost("w1", "SIGKILL", at_s=101.0), RecoveryPolicy(workers=3, virtual_workers=4))
    assert decision.effects == (Abort(2, ("w2",)), StartWorker("w3"))
    assert isinstance(decision.state, Gathering) and not decision.state.planned


def test_a_pause_that_takes_too_long_is_first_aborted_and_only_then_killed():
    first = decide(PAUSING, Timer(130.0), POLICY)
    assert first.effects == (Abort(2, ("w0", "w1")),)
    assert first.because == "w0 and w1 did not pause in time"
    second = decide(first.state, Timer(160.0), POLICY)
    assert second.effects == (Kill("w0"), Kill("w1"))


def test_progress_made_while_the_group_pauses_is_noted():
    decision = decide(PAUSING, Progress(2, 11, at_s=100.5), POLICY)
    assert isinstance(decision.state, Gathering) and decision.state.tick == 11


def test_a_pause_leaves_no_mark_of_trouble():
    stopped = decide(PAUSING, Stopped("w0", 2, 11, at_s=100.2), POLICY).state
    decision = decide(stopped, Stopped("w1", 2, 11, at_s=100.3), POLICY)
    assert decision.state.roster.trouble == RUNNING.roster.trouble
