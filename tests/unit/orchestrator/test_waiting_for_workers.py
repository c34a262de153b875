"""Fewer workers than the minimum: the state stays in memory until enough have come, or patience ends."""

from disttrain.orchestrator import (
    CheckpointCommitted,
    Commit,
    Ended,
    Form,
    GiveUp,
    Holding,
    RecoveryPolicy,
    Roster,
    Start,
    StartWorker,
    Stopped,
    Timer,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
    next_deadline,
)
from disttrain.orchestrator.states import Gathering

POLICY = RecoveryPolicy(workers=3, virtual_workers=3, min_workers=3, wait_s=60.0, start_limit_s=500.0)
STARTS = (Start("w3", 600.0), Start("w4", 600.0))
WAITING = Waiting(Roster(next_worker=5, generation=4, starting=STARTS), (Holding("w2", 48),), since_s=100.0)


def test_too_few_survivors_wait_with_the_state_in_memory():
    before = Gathering(Roster(5, 4, STARTS), ("w2",), 47, (), ("w0", "w1"), planned=False, deadline_s=130.0)
    decision = decide(before, Stopped("w2", 4, 48, at_s=100.0), POLICY)
    assert isinstance(decision.state, Waiting)
    assert decision.state.holders == (Holding("w2", 48),) and decision.state.since_s == 100.0
    assert decision.effects == ()
    assert decision.because == "w2 stopped with the state of tick 48; 1 of 3 workers needed; its state stays in the memory of w2"


def test_the_group_forms_from_memory_as_soon_as_enough_have_come():
    one_more = decide(WAITING, WorkerReady("w4", at_s=110.0), POLICY)
    assert one_more.effects == () and isinstance(one_more.state, Waiting) and one_more.state.since_s == 100.0
    decision = decide(one_more.state, WorkerReady("w3", at_s=111.0), POLICY)
    assert decision.effects == (Form(5, ("w2", "w4", "w3"), ((0, 1), (1, 2), (2, 3)), source="w2", tick=48, restore=None),)


def test_waiting_ends_when_patience_does():
    assert next_deadline(WAITING, POLICY) == 160.0
    assert decide(WAITING, Timer(159.0), POLICY).state == WAITING
    decision = decide(WAITING, Timer(160.0), POLICY)
    assert decision.effects == (GiveUp("not_enough_workers", "only 1 of 3 workers after 60 s"),)
    assert isinstance(decision.state, Ended) and decision.state.roster.ready == ("w2",)


def test_a_checkpoint_committed_meanwhile_serves_when_the_last_holder_is_lost_too():
    committed = decide(WAITING, CheckpointCommitted("step-48", 48, at_s=101.0), POLICY).state
    lost = decide(committed, WorkerLost("w2", "SIGKILL", at_s=102.0), POLICY)
    assert lost.effects == (StartWorker("w5"),)
    state = lost.state
    for worker in ("w3", "w4"):
        state = decide(state, WorkerReady(worker, at_s=103.0), POLICY).state
    decision = decide(state, WorkerReady("w5", at_s=104.0), POLICY)
    assert decision.effects == (Form(5, ("w3", "w4", "w5"), ((0, 1), (1, 2), (2, 3)), source=None, tick=48, restore="step-48"),)


def test_an_older_checkpoint_does_not_replace_a_newer_one():
    newer = decide(WAITING, CheckpointCommitted("step-48", 48, at_s=101.0), POLICY).state
    decision = decide(newer, CheckpointCommitted("step-40", 40, at_s=102.0), POLICY)
    assert decision.state.roster.committed == Commit("step-48", 48)
    assert decision.because == "step-40 of tick 40 is not newer than step-48 of tick 48"
