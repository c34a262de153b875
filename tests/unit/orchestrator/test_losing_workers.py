"""A group that breaks: who is told, who is waited for, what the next generation is made of."""

from dataclasses import replace

from disttrain.orchestrator import (
    Abort,
    BreakHistory,
    Commit,
    Decision,
    Form,
    Gathering,
    GroupStuck,
    Holding,
    Kill,
    RecoveryPolicy,
    Roster,
    Running,
    Silent,
    Start,
    StartWorker,
    Stopped,
    Stuck,
    Timer,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
    next_deadline,
)

POLICY = RecoveryPolicy(workers=3, virtual_workers=6, stop_limit_s=30.0, start_limit_s=100.0, silence_limit_s=20.0)
RUNNING = Running(Roster(next_worker=3, generation=4), ("w0", "w1", "w2"), tick=47)
REPLACED = Roster(next_worker=4, generation=4, starting=(Start("w3", 200.0),))
LOST_W1 = Gathering(REPLACED, ("w0", "w2"), 47, stopped=(), lost=("w1",), planned=False, deadline_s=130.0, reasons=("SIGKILL",))


def test_a_loss_aborts_the_survivors_and_starts_a_replacement():
    decision = decide(RUNNING, WorkerLost("w1", "SIGKILL", at_s=100.0), POLICY)
    assert decision.state == LOST_W1
    assert decision.effects == (Abort(4, ("w0", "w2")), StartWorker("w3"))
    assert decision.because == "lost w1 (SIGKILL) in generation 4; waiting for w0 and w2 to stop; starting w3"


def test_the_group_forms_anew_when_the_last_survivor_has_stopped_without_waiting_for_the_replacement():
    one_stopped = decide(LOST_W1, Stopped("w2", 4, 47, at_s=100.1), POLICY)
    assert one_stopped.effects == () and one_stopped.because == "w2 stopped with the state of tick 47; waiting for w0 to stop"
    decision = decide(one_stopped.state, Stopped("w0", 4, 47, at_s=100.2), POLICY)
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w0", tick=47, restore=None),)
    trouble = BreakHistory(tick=47, losses=1, workers=("w1",), reasons=("SIGKILL",), furthest=47, breaks=1)
    assert decision.state == Running(Roster(4, 5, (Start("w3", 200.0),), trouble=trouble), ("w0", "w2"), tick=47)


def test_whoever_is_ahead_is_the_source():
    ahead = decide(LOST_W1, Stopped("w2", 4, 48, at_s=100.1), POLICY).state
    decision = decide(ahead, Stopped("w0", 4, 47, at_s=100.2), POLICY)
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w2", tick=48, restore=None),)


def test_where_steps_are_to_be_vouched_for_the_one_that_is_ahead_goes_back_to_the_others():
    policy = replace(POLICY, redo_step=True)
    ahead = decide(LOST_W1, Stopped("w2", 4, 48, at_s=100.1), policy).state
    decision = decide(ahead, Stopped("w0", 4, 47, at_s=100.2), policy)
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w0", tick=47, restore=None),)
    together = decide(decide(LOST_W1, Stopped("w2", 4, 48, at_s=100.1), policy).state, Stopped("w0", 4, 48, at_s=100.2), policy)
    assert together.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w0", tick=48, restore=None),)


def test_a_worker_whose_transfer_was_cut_is_no_source():
    cut = decide(LOST_W1, Stopped("w0", 4, None, at_s=100.1), POLICY)
    assert cut.because == "w0 stopped with no state; waiting for w2 to stop"
    decision = decide(cut.state, Stopped("w2", 4, 46, at_s=100.2), POLICY)
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w2", tick=46, restore=None),)


def test_survivors_of_whom_none_holds_a_state_load_the_newest_checkpoint():
    before = Gathering(Roster(4, 4, committed=Commit("step-40", 40)), ("w0", "w2"), 47, (Holding("w0", None),), ("w1",), False, 130.0)
    decision = decide(before, Stopped("w2", 4, None, at_s=101.0), RecoveryPolicy(workers=2, virtual_workers=6))
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source=None, tick=40, restore="step-40"),)


def test_survivors_one_tick_behind_the_newest_checkpoint_go_on_from_memory():
    before = Gathering(Roster(4, 4, committed=Commit("step-48", 48)), ("w0",), 48, (), ("w1",), False, 130.0)
    decision = decide(before, Stopped("w0", 4, 47, at_s=101.0), RecoveryPolicy(workers=1, virtual_workers=6))
    assert decision.effects == (Form(5, ("w0",), ((0, 6),), source="w0", tick=47, restore=None),)


def test_survivors_keep_their_order_and_newcomers_follow():
    newcomer = decide(LOST_W1, WorkerReady("w3", at_s=100.1), POLICY).state
    stopped = decide(newcomer, Stopped("w2", 4, 47, at_s=100.2), POLICY).state
    decision = decide(stopped, Stopped("w0", 4, 47, at_s=100.3), POLICY)
    assert decision.effects == (Form(5, ("w0", "w2", "w3"), ((0, 2), (2, 4), (4, 6)), source="w0", tick=47, restore=None),)


def test_a_spare_takes_the_place_at_once():
    before = Running(Roster(next_worker=4, generation=4, ready=("w3",)), ("w0", "w1"), tick=47)
    policy = RecoveryPolicy(workers=2, virtual_workers=2, spares=2)
    lost = decide(before, WorkerLost("w0", "SIGKILL", at_s=100.0), policy)
    assert lost.effects == (Abort(4, ("w1",)), StartWorker("w4"), StartWorker("w5"))
    decision = decide(lost.state, Stopped("w1", 4, 47, at_s=100.1), policy)
    assert decision.effects == (Form(5, ("w1", "w3"), ((0, 1), (1, 2)), source="w1", tick=47, restore=None),)


def test_a_second_loss_is_not_waited_for():
    stopped = decide(LOST_W1, Stopped("w0", 4, 47, at_s=100.1), POLICY).state
    decision = decide(stopped, WorkerLost("w2", "SIGKILL", at_s=100.2), POLICY)
    assert decision.effects == (Form(5, ("w0",), ((0, 6),), source="w0", tick=47, restore=None), StartWorker("w4"))


def test_a_survivor_that_dies_after_it_stopped_takes_its_state_along():
    stopped = decide(LOST_W1, Stopped("w2", 4, 48, at_s=100.1), POLICY).state
    lost = decide(stopped, WorkerLost("w2", "SIGKILL", at_s=100.2), POLICY).state
    decision = decide(lost, Stopped("w0", 4, 47, at_s=100.3), POLICY)
    assert decision.effects == (Form(5, ("w0",), ((0, 6),), source="w0", tick=47, restore=None),)


def test_a_member_may_see_the_broken_group_before_anybody_knows_of_a_death():
    decision = decide(RUNNING, Stopped("w0", 4, 47, at_s=100.0), POLICY)
    assert decision.state == Gathering(RUNNING.roster, RUNNING.members, 47, (Holding("w0", 47),), (), planned=False, deadline_s=130.0)
    assert decision.effects == (Abort(4, ("w1", "w2")),)
    later = decide(decision.state, Stopped("w2", 4, 47, at_s=100.1), POLICY).state
    decision = decide(later, WorkerLost("w1", "SIGKILL", at_s=100.2), POLICY)
    assert decision.effects == (Form(5, ("w0", "w2"), ((0, 3), (3, 6)), source="w0", tick=47, restore=None), StartWorker("w3"))


def test_a_group_that_broke_though_nobody_died_forms_anew_with_the_same_members():
    state = RUNNING
    for worker in ("w0", "w1"):
        state = decide(state, Stopped(worker, 4, 47, at_s=100.0), POLICY).state
    decision = decide(state, Stopped("w2", 4, 47, at_s=100.0), POLICY)
    assert decision.effects == (Form(5, ("w0", "w1", "w2"), ((0, 2), (2, 4), (4, 6)), source="w0", tick=47, restore=None),)


def test_a_survivor_that_does_not_stop_in_time_is_killed_and_then_not_waited_for():
    stopped = decide(LOST_W1, Stopped("w0", 4, 47, at_s=100.1), POLICY).state
    assert next_deadline(stopped, POLICY) == 130.0
    late = decide(stopped, Timer(130.0), POLICY)
    assert late.effects == (Kill("w2"),)
    assert late.because == "w2 did not leave the broken group in time"
    assert next_deadline(late.state, POLICY) == 160.0  # should the report of the death not come, it is killed once more
    decision = decide(late.state, WorkerLost("w2", "SIGKILL", at_s=130.1), POLICY)
    assert decision.effects == (Form(5, ("w0",), ((0, 6),), source="w0", tick=47, restore=None), StartWorker("w4"))


def test_losing_everybody_waits_with_nothing_in_memory():
    policy = RecoveryPolicy(workers=1, virtual_workers=2)
    before = Running(Roster(next_worker=1, generation=4, committed=Commit("step-40", 40)), ("w0",), tick=47)
    decision = decide(before, WorkerLost("w0", "SIGKILL", at_s=100.0), policy)
    assert isinstance(decision.state, Waiting) and decision.state.holders == ()
    assert decision.effects == (StartWorker("w1"),)
    decision = decide(decision.state, WorkerReady("w1", at_s=101.0), policy)
    assert decision.effects == (Form(5, ("w1",), ((0, 2),), source=None, tick=40, restore="step-40"),)


def test_losing_everybody_before_the_first_checkpoint_begins_at_the_start():
    policy = RecoveryPolicy(workers=1, virtual_workers=2)
    lost = decide(Running(Roster(1, 4), ("w0",), 47), WorkerLost("w0", "SIGKILL", at_s=100.0), policy).state
    decision = decide(lost, WorkerReady("w1", at_s=101.0), policy)
    assert decision.effects == (Form(5, ("w1",), ((0, 2),), source=None, tick=0, restore=None),)


def test_losing_everybody_goes_on_from_a_warm_spare_at_once():
    policy = RecoveryPolicy(workers=1, virtual_workers=2, spares=1)
    before = Running(Roster(next_worker=2, generation=4, ready=("w1",), committed=Commit("step-40", 40)), ("w0",), tick=47)
    decision = decide(before, WorkerLost("w0", "SIGKILL", at_s=100.0), policy)
    assert decision.effects == (Form(5, ("w1",), ((0, 2),), source=None, tick=40, restore="step-40"), StartWorker("w2"))


def test_a_silent_worker_is_killed_once_its_limit_is_over():
    early = decide(RUNNING, Silent("w1", since_s=90.0, at_s=109.0), POLICY)
    assert early.effects == () and early.because == "w1 has been silent for 19 s; 20 s are allowed"
    decision = decide(RUNNING, Silent("w1", since_s=90.0, at_s=110.0), POLICY)
    assert decision.effects == (Kill("w1"),) and decision.state == replace(RUNNING, roster=RUNNING.roster.with_killed(("w1",)))


def test_a_silent_worker_whose_machine_says_that_it_runs_is_left_alone():
    decision = decide(RUNNING, Silent("w1", since_s=0.0, at_s=1000.0, condition="alive"), POLICY)
    assert decision == Decision(RUNNING, because="w1 has been silent for 1e+03 s, but its process runs: it is waited for")


def test_a_stopped_process_is_killed_once_its_limit_is_over():
    decision = decide(RUNNING, Silent("w1", since_s=90.0, at_s=110.0, condition="stopped"), POLICY)
    assert decision.effects == (Kill("w1"),) and "its process is stopped" in decision.because


def test_a_worker_without_progress_for_longer_than_its_ticks_suggest_is_killed_and_nobody_blamed():
    decision = decide(RUNNING, Stuck("w1", "computing tick 48", 700.0, 300.0, at_s=900.0), POLICY)
    assert decision.effects == (Kill("w1"),)
    assert decision.because == "w1 has been computing tick 48 for 700 s without progress; 300 s are allowed"
    lost = decide(decision.state, WorkerLost("w1", "killed", at_s=900.1), POLICY).state
    assert isinstance(lost, Gathering) and lost.lost == () and lost.roster.killed == ()


def test_a_group_whose_members_only_wait_for_each_other_forms_anew_and_loses_nobody():
    decision = decide(RUNNING, GroupStuck(4, 500.0, at_s=900.0), POLICY)
    assert decision.effects == (Abort(4, ("w0", "w1", "w2")),)
    state = decision.state
    for worker in ("w0", "w1", "w2"):
        decision = decide(state, Stopped(worker, 4, 47, at_s=900.1), POLICY)
        state = decision.state
    assert decision.effects == (Form(5, ("w0", "w1", "w2"), ((0, 2), (2, 4), (4, 6)), source="w0", tick=47, restore=None),)
    assert decide(state, GroupStuck(4, 500.0, at_s=901.0), POLICY).effects == ()


def test_a_survivor_that_says_that_it_computes_is_waited_for_however_long():
    state = decide(LOST_W1, Stopped("w0", 4, 47, at_s=100.1), POLICY).state
    for at_s in (130.0, 160.0, 4000.0):
        decision = decide(state, Timer(at_s, working=frozenset({"w2", "w3"})), POLICY)
        state = decision.state
        assert decision.effects == () and decision.because == "w2 still work on a step: waited for"
        assert next_deadline(state, POLICY) == at_s + 30.0
    late = decide(state, Timer(4030.0, working=frozenset({"w3"})), POLICY)
    assert late.effects == (Kill("w2"),)


def test_a_kill_of_our_own_again_and_again_at_one_tick_is_no_poison():
    state = RUNNING
    for number in range(6):
        members = state.members
        state = decide(state, Stuck(members[1], "computing tick 48", 700.0, 300.0, at_s=100.0), POLICY).state
        state = decide(state, WorkerLost(members[1], "killed", at_s=100.0), POLICY).state
        for worker in state.members:
            state = decide(state, Stopped(worker, state.roster.generation, 47, at_s=100.0), POLICY).state
        state = decide(state, WorkerReady(f"w{3 + number}", at_s=100.0), POLICY).state
        for worker in state.members:
            state = decide(state, Stopped(worker, state.roster.generation, 47, at_s=100.0), POLICY).state
    assert isinstance(state, Running) and state.roster.trouble.losses == 0


def test_no_heartbeat_is_awaited_from_a_worker_that_is_starting():
    assert decide(LOST_W1, Silent("w3", since_s=0.0, at_s=110.0), POLICY).effects == ()


def test_memory_further_behind_than_one_tick_gives_way_to_a_checkpoint_told_of_late():
    before = Gathering(Roster(4, 4, committed=Commit("step-48", 48)), ("w0",), 30, (), ("w1",), False, 130.0)
    decision = decide(before, Stopped("w0", 4, 46, at_s=101.0), RecoveryPolicy(workers=1, virtual_workers=6))
    assert decision.effects == (Form(5, ("w0",), ((0, 6),), source=None, tick=48, restore="step-48"),)


def test_ranks_follow_the_old_order_whoever_stopped_first_and_whatever_the_names():
    before = Gathering(Roster(12, 4), ("w11", "w2"), 47, (Holding("w2", 47),), ("w1",), planned=False, deadline_s=130.0)
    decision = decide(before, Stopped("w11", 4, 47, at_s=101.0), RecoveryPolicy(workers=2, virtual_workers=6))
    assert decision.effects == (Form(5, ("w11", "w2"), ((0, 3), (3, 6)), source="w11", tick=47, restore=None),)
