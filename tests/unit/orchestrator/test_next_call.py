"""Workers outlive one call of fit: the next begins with those that live."""

from disttrain.orchestrator import (
    Abort,
    BreakHistory,
    Commit,
    Ended,
    Form,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    StartFailed,
    Starting,
    StartWorker,
    WorkerLost,
    WorkerReady,
    decide,
    new_call,
)

POLICY = RecoveryPolicy(workers=2, virtual_workers=2, min_workers=2, start_limit_s=100.0)
TROUBLE = BreakHistory(47, 2, ("w0", "w1"), 47, 2)


def test_the_next_call_begins_at_once_with_the_workers_of_the_last_and_counts_on():
    over = Ended(Roster(4, 7, ready=("w2", "w3"), committed=Commit("step-40", 40), trouble=TROUBLE), "finished")
    decision = new_call(over, POLICY, at_s=50.0)
    assert decision.effects == (Form(8, ("w2", "w3"), ((0, 1), (1, 2)), source=None, tick=0, restore=None),)
    assert decision.state == Running(Roster(4, 8), ("w2", "w3"), tick=0)


def test_a_next_call_with_too_few_workers_starts_more_under_new_names():
    decision = new_call(Ended(Roster(4, 7, ready=("w2",), start_failures=5, start_after_s=999.0), "start_failed"), POLICY, at_s=50.0)
    assert decision.state == Starting(Roster(5, 7, (Start("w4", 150.0),), ("w2",), start_after_s=999.0), since_s=50.0, first_ready_s=50.0)
    assert decision.effects == (StartWorker("w4"),)


def test_a_call_left_in_the_middle_is_aborted():
    decision = new_call(Running(Roster(2, 7), ("w0", "w1"), tick=3), POLICY, at_s=50.0, committed=Commit("b-9", 9))
    assert decision.effects == (Abort(7, ("w0", "w1")), Form(8, ("w0", "w1"), ((0, 1), (1, 2)), source=None, tick=9, restore="b-9"))


def test_who_dies_or_comes_up_between_two_calls_is_known_to_the_next():
    state = Ended(Roster(4, 7, (Start("w2", 100.0), Start("w3", 100.0)), ready=("w0", "w1")), "finished")
    for event in (WorkerLost("w0", "SIGKILL", 1.0), WorkerReady("w2", 2.0), StartFailed("w3", "no room", 3.0)):
        decision = decide(state, event, POLICY)
        assert decision.effects == () and isinstance(decision.state, Ended)
        state = decision.state
    assert state.roster.ready == ("w1", "w2") and state.roster.starting == ()


def test_more_living_workers_than_places_leave_spares():
    over = Ended(Roster(3, 7, ready=("w0", "w1", "w2")), "finished")
    decision = new_call(over, RecoveryPolicy(workers=2, virtual_workers=2, spares=1), at_s=50.0)
    assert decision.effects == (Form(8, ("w0", "w1"), ((0, 1), (1, 2)), source=None, tick=0, restore=None),)
    assert decision.state.roster.ready == ("w2",)
