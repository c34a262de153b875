"""From nothing to the first generation of a run."""

from disttrain.orchestrator import (
    Commit,
    Ended,
    Form,
    GiveUp,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    Starting,
    StartWorker,
    Timer,
    WorkerLost,
    WorkerReady,
    decide,
    first_call,
    next_deadline,
)

POLICY = RecoveryPolicy(workers=3, virtual_workers=6, min_workers=2, start_grace_s=10.0, start_limit_s=100.0, wait_s=60.0)


def starting(*ready: str, first_ready_s: float | None = None) -> Starting:
    left = tuple(Start(name, 105.0) for name in ("w0", "w1", "w2") if name not in ready)
    return Starting(Roster(next_worker=3, starting=left, ready=ready), since_s=5.0, first_ready_s=first_ready_s)


def test_a_run_begins_by_starting_all_its_workers():
    decision = first_call(POLICY, at_s=5.0)
    assert decision.state == starting()
    assert decision.effects == (StartWorker("w0"), StartWorker("w1"), StartWorker("w2"))
    assert decision.because == "a new call; 0 workers live, 3 wanted; starting w0, w1 and w2"


def test_spares_are_started_beside_the_workers():
    decision = first_call(RecoveryPolicy(workers=2, max_workers=3, virtual_workers=4, spares=2), at_s=0.0)
    assert decision.effects == tuple(StartWorker(f"w{number}") for number in range(5))


def test_the_first_ready_worker_waits_for_the_others():
    decision = decide(starting(), WorkerReady("w1", at_s=7.0), POLICY)
    assert decision.state == starting("w1", first_ready_s=7.0)
    assert decision.effects == ()
    assert decision.because == "w1 is ready, 1 of 3"


def test_the_last_ready_worker_forms_the_first_generation_in_order_of_arrival():
    decision = decide(starting("w2", "w0", first_ready_s=7.0), WorkerReady("w1", at_s=9.0), POLICY)
    assert decision.state == Running(Roster(next_worker=3, generation=1), ("w2", "w0", "w1"), tick=0)
    assert decision.effects == (Form(1, ("w2", "w0", "w1"), placement=((0, 2), (2, 4), (4, 6)), source=None, tick=0, restore=None),)
    assert decision.because == "w1 is ready, the last of 3; generation 1 is w2, w0 and w1, from the start"


def test_a_resumed_call_forms_from_its_checkpoint():
    policy = RecoveryPolicy(workers=1, virtual_workers=2)
    begun = first_call(policy, at_s=0.0, committed=Commit("step-40", 40)).state
    decision = decide(begun, WorkerReady("w0", at_s=1.0), policy)
    assert decision.effects == (Form(1, ("w0",), ((0, 2),), source=None, tick=40, restore="step-40"),)
    assert isinstance(decision.state, Running) and decision.state.tick == 40


def test_after_the_grace_enough_workers_start_without_the_late_one():
    before = starting("w1", "w0", first_ready_s=7.0)
    assert next_deadline(before, POLICY) == 17.0
    assert decide(before, Timer(16.9), POLICY).state == before
    decision = decide(before, Timer(17.0), POLICY)
    assert decision.effects == (Form(1, ("w1", "w0"), ((0, 3), (3, 6)), source=None, tick=0, restore=None),)
    assert decision.state == Running(Roster(next_worker=3, generation=1, starting=(Start("w2", 105.0),)), ("w1", "w0"), tick=0)


def test_too_few_workers_are_waited_for_beyond_the_grace_but_not_for_ever():
    before = starting("w1", first_ready_s=7.0)
    assert next_deadline(before, POLICY) == 65.0
    assert decide(before, Timer(64.0), POLICY).state == before
    decision = decide(before, Timer(65.0), POLICY)
    assert decision.effects == (GiveUp("not_enough_workers", "only 1 of 2 workers after 60 s"),)
    assert isinstance(decision.state, Ended) and decision.state.outcome == "not_enough_workers"


def test_the_grace_begins_anew_when_the_only_ready_worker_is_lost():
    decision = decide(starting("w1", first_ready_s=7.0), WorkerLost("w1", "SIGKILL", at_s=8.0), POLICY)
    assert isinstance(decision.state, Starting) and decision.state.first_ready_s is None
    assert decision.effects == (StartWorker("w3"),)
    assert decision.because == "lost w1 (SIGKILL), which was in no group; starting w3"


def test_more_workers_than_virtual_workers_leave_spares():
    policy = RecoveryPolicy(workers=3, virtual_workers=2)
    decision = decide(starting("w0"), WorkerReady("w1", at_s=1.0), policy)
    assert decision.effects == (Form(1, ("w0", "w1"), ((0, 1), (1, 2)), None, 0, None),)
    decision = decide(decision.state, WorkerReady("w2", at_s=2.0), policy)
    assert isinstance(decision.state, Running) and decision.state.roster.ready == ("w2",)
    assert decision.effects == () and decision.because == "w2 is ready; the group has its 2 members, so it is a spare"
