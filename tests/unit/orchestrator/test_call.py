"""A call, event by event: boundaries, hooks, saves, a stop, the end, and all of these while workers are lost."""

from __future__ import annotations

import pickle

from disttrain.orchestrator.call import advance, open_call
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
    CallEffect,
    CallState,
    EndInterrupted,
    Finish,
    Finishing,
    GiveUpHooks,
    Halting,
    InHooks,
    Over,
    Proceed,
    RollBack,
    RollingBack,
    RunHooks,
    SaveHeld,
    Stepping,
)

RUNS = GroupChanged("running", 1)


def after(*events: CallEvent, saves: bool = True) -> tuple[CallState, tuple[CallEffect, ...]]:
    """The state after all of them, and the effects of the last."""
    state: CallState = open_call(saves=saves)
    effects: tuple[CallEffect, ...] = ()
    for event in events:
        decision = advance(state, event)
        state, effects = decision.state, decision.effects
        assert pickle.loads(pickle.dumps(state)) == state
    return state, effects


STEPPING = (HooksDone(-1), RUNS)
AT_5 = BoundaryReached(Boundary(1, 5))


def test_the_job_is_packed_after_the_hooks_before_the_first_step():
    assert after(HooksDone(-1))[1] == (Begin(),)


def test_the_hooks_of_a_boundary_run_and_the_workers_are_told_to_proceed():
    state, effects = after(*STEPPING, AT_5)
    assert isinstance(state, InHooks) and effects == (RunHooks(Boundary(1, 5)),)
    state, effects = after(*STEPPING, AT_5, HooksDone(5))
    assert isinstance(state, Stepping) and effects == (Proceed(5),)


def test_a_boundary_of_an_older_generation_is_late():
    state, effects = after(*STEPPING, GroupChanged("gathering", 1), GroupChanged("running", 2), AT_5)
    assert isinstance(state, Stepping) and effects == ()


def test_a_boundary_of_a_predict_waits_for_the_outputs_before_it():
    state, effects = after(*STEPPING, BoundaryReached(Boundary(1, 5), complete=False), saves=False)
    assert isinstance(state, Awaiting) and effects == ()
    assert after(*STEPPING, BoundaryReached(Boundary(1, 5), complete=False), OutputsArrived())[1] == (RunHooks(Boundary(1, 5)),)


def test_a_loss_while_hooks_run_changes_nothing_for_them_and_the_word_to_proceed_goes_to_whoever_is_there_then():
    events = (*STEPPING, AT_5, GroupChanged("gathering", 1), GroupChanged("running", 2, 5), BoundaryReached(Boundary(2, 5)))
    state, effects = after(*events)
    assert isinstance(state, InHooks) and effects == ()
    assert after(*events, HooksDone(5))[1] == (Proceed(5),)


def test_the_loss_of_all_while_hooks_run_ends_them_and_then_goes_back_and_sees_to_what_was_reported_meanwhile():
    lost = (*STEPPING, AT_5, GroupChanged("gathering", 1), GroupChanged("waiting", 1), GroupChanged("running", 2, 3, "step-3", anew=True))
    state, effects = after(*lost)
    assert isinstance(state, InHooks) and effects == (GiveUpHooks(),)
    state, effects = after(*lost, BoundaryReached(Boundary(2, 4)), HooksDone(5))
    assert isinstance(state, RollingBack) and effects == (RollBack(3, "step-3"),)
    assert after(*lost, BoundaryReached(Boundary(2, 4)), HooksDone(5), RolledBack(3))[1] == (RunHooks(Boundary(2, 4)),)


def test_the_loss_of_all_between_boundaries_puts_the_callbacks_back():
    state, effects = after(*STEPPING, GroupChanged("waiting", 1), GroupChanged("running", 2, 3, "step-3", anew=True))
    assert isinstance(state, RollingBack) and effects == (RollBack(3, "step-3"),)


# ---- a stop


def test_a_stop_is_asked_for_and_ends_the_call_once_its_step_is_saved():
    state, effects = after(*STEPPING, Interrupted())
    assert isinstance(state, Halting) and effects == (Ask(1, "stop"),)
    assert isinstance(after(*STEPPING, Interrupted(), Halted(1, 7))[0], Halting)
    for saved in (SaveCommitted(7), SaveAbandoned(7)):
        state, effects = after(*STEPPING, Interrupted(), Halted(1, 7), saved)
        assert isinstance(state, Over) and effects == (EndInterrupted("interrupted"),)
        assert after(*STEPPING, Interrupted(), saved, Halted(1, 7))[1] == (EndInterrupted("interrupted"),)


def test_a_stop_of_a_call_that_keeps_nothing_ends_with_the_step():
    assert after(*STEPPING, Interrupted(), Halted(1, 7), saves=False)[1] == (EndInterrupted("interrupted"),)


def test_a_stop_before_the_first_step_ends_the_call_at_once():
    assert after(HooksDone(-1), Interrupted())[1] == (EndInterrupted("interrupted before the first step"),)
    assert after(Interrupted(), HooksDone(-1))[1] == (EndInterrupted("interrupted before the first step"),)


def test_a_stop_asked_for_while_the_group_forms_anew_is_asked_of_the_next_generation():
    state, effects = after(*STEPPING, GroupChanged("gathering", 1), Interrupted())
    assert isinstance(state, Halting) and effects == ()
    events = (*STEPPING, GroupChanged("gathering", 1), Interrupted(), GroupChanged("running", 2, 4))
    assert after(*events)[1] == (Ask(2, "stop"),)
    assert after(*events, Halted(1, 4), saves=False)[1] == ()


def test_a_stop_while_hooks_run_is_asked_at_once_and_they_are_heard_out():
    state, effects = after(*STEPPING, AT_5, Interrupted())
    assert isinstance(state, InHooks) and effects == (Ask(1, "stop"),)
    state, effects = after(*STEPPING, AT_5, Interrupted(), HooksDone(5))
    assert isinstance(state, Halting) and effects == (Proceed(5),)


def test_too_few_workers_let_the_newest_state_be_saved_by_whoever_holds_it():
    waits = GroupChanged("waiting", 1, 9, holder="w0")
    assert after(*STEPPING, waits)[1] == (SaveHeld("w0", 9),)
    assert after(*STEPPING, SaveCommitted(9), waits)[1] == ()
    assert after(*STEPPING, waits, saves=False)[1] == ()


def test_one_ctrl_c_while_too_few_workers_are_there_ends_the_call_once_the_state_is_saved():
    waits = GroupChanged("waiting", 1, 9, holder="w0")
    state, effects = after(*STEPPING, waits, Interrupted())
    assert isinstance(state, Halting) and effects == ()
    assert after(*STEPPING, waits, Interrupted(), SaveCommitted(9))[1] == (EndInterrupted("interrupted"),)
    assert after(*STEPPING, waits, SaveCommitted(9), Interrupted())[1] == (EndInterrupted("interrupted"),)
    assert after(*STEPPING, GroupChanged("waiting", 1), Interrupted())[1] == (EndInterrupted("interrupted"),)
    assert after(*STEPPING, Interrupted(), waits)[1] == (SaveHeld("w0", 9),)
    assert after(*STEPPING, AT_5, waits, Interrupted(), SaveCommitted(9), HooksDone(5))[1] == (Proceed(5), EndInterrupted("interrupted"))


def test_a_stop_that_comes_with_the_last_step_lets_the_call_finish():
    state, _ = after(*STEPPING, Interrupted(), StepsDone(1, 20))
    assert isinstance(state, Finishing)
    assert after(*STEPPING, Interrupted(), StepsDone(1, 20), Delivered(1), SaveCommitted(20))[1] == (Finish(),)


# ---- saves and the end


def test_a_call_ends_when_its_result_is_here_and_its_last_save_has_ended_in_whatever_order():
    for events in ((Delivered(1), SaveCommitted(20)), (SaveCommitted(20), Delivered(1)), (Delivered(1), SaveAbandoned(20))):
        state, effects = after(*STEPPING, StepsDone(1, 20), *events)
        assert isinstance(state, Over) and state.outcome == "finished" and effects == (Finish(),)
    assert after(*STEPPING, SaveAbandoned(20), StepsDone(1, 20), Delivered(1))[1] == (Finish(),)
    assert after(*STEPPING, StepsDone(1, 20), Delivered(1), saves=False)[1] == (Finish(),)


def test_a_group_that_breaks_after_the_last_step_finishes_again_unless_all_is_here():
    state, _ = after(*STEPPING, StepsDone(1, 20), Delivered(1), GroupChanged("gathering", 1))
    assert isinstance(state, Finishing)
    state, _ = after(*STEPPING, StepsDone(1, 20), GroupChanged("gathering", 1), GroupChanged("running", 2, 20))
    assert isinstance(state, Stepping)
    assert after(*STEPPING, StepsDone(1, 20), Delivered(1), GroupChanged("gathering", 1), SaveCommitted(20))[1] == (Finish(),)
    late = (StepsDone(1, 20), GroupChanged("gathering", 1), GroupChanged("running", 2, 20), Delivered(1), SaveCommitted(20))
    assert isinstance(after(*STEPPING, *late)[0], Stepping)


def test_a_save_is_asked_for_when_it_is_due_and_somebody_runs():
    assert after(*STEPPING, SaveDue())[1] == (Ask(1, "save"),)
    assert after(*STEPPING, GroupChanged("gathering", 1), SaveDue())[1] == ()
    assert after(*STEPPING, SaveDue(), saves=False)[1] == ()


def test_nothing_happens_to_a_call_that_is_over():
    over, _ = after(*STEPPING, StepsDone(1, 20), Delivered(1), SaveCommitted(20))
    for event in (RUNS, AT_5, Interrupted(), HooksDone(5), SaveDue(), Delivered(1)):
        assert advance(over, event).state == over and advance(over, event).effects == ()
