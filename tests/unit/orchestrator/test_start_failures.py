"""Workers that do not come up: tried again with growing pauses, and given up when nobody is left."""

from disttrain.orchestrator import (
    Ended,
    GiveUp,
    Kill,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    StartFailed,
    Starting,
    StartWorker,
    Timer,
    WorkerLost,
    WorkerReady,
    decide,
    next_deadline,
)

POLICY = RecoveryPolicy(
    workers=2, virtual_workers=2, start_backoff_s=1.0, start_backoff_max_s=3.0, start_failure_limit=3, start_limit_s=100.0
)
STARTING = Starting(Roster(2, starting=(Start("w0", 100.0), Start("w1", 100.0))), since_s=0.0)


def test_a_failed_start_is_tried_again_after_a_pause():
    failed = decide(STARTING, StartFailed("w0", "no memory", at_s=10.0), POLICY)
    assert failed.effects == ()
    assert failed.because == "w0 failed to start (no memory), 1 in a row; next start in 1 s"
    assert next_deadline(failed.state, POLICY) == 11.0
    decision = decide(failed.state, Timer(11.0), POLICY)
    assert decision.effects == (StartWorker("w2"),)
    assert decision.because == "no limit is reached; starting w2"


def test_the_pause_doubles_up_to_its_limit():
    pauses = [POLICY.start_backoff_after(failures) for failures in (1, 2, 3, 4, 5000)]
    assert pauses == [1.0, 2.0, 3.0, 3.0, 3.0]


def test_starts_that_fail_together_count_once():
    first = decide(STARTING, StartFailed("w0", "no memory", at_s=10.0), POLICY).state
    second = decide(first, WorkerLost("w1", "exit code 1", at_s=10.5), POLICY).state
    assert second.roster.start_failures == 1
    assert decide(second, Timer(11.0), POLICY).effects == (StartWorker("w2"), StartWorker("w3"))


def test_too_many_failures_in_a_row_with_nobody_living_end_the_call():
    before = Starting(Roster(4, starting=(Start("w3", 100.0),), start_failures=2, start_after_s=5.0), since_s=0.0)
    decision = decide(before, StartFailed("w3", "ModuleNotFoundError: keras", at_s=10.0), POLICY)
    message = "workers failed to start 3 times in a row; w3: ModuleNotFoundError: keras"
    assert decision.effects == (GiveUp("start_failed", message),)
    assert isinstance(decision.state, Ended) and decision.state.outcome == "start_failed"


def test_failed_replacements_do_not_end_a_call_that_runs():
    state = Running(Roster(4, 1, starting=(Start("w3", 100.0),), start_failures=20, start_after_s=5.0), ("w0",), tick=3)
    decision = decide(state, StartFailed("w3", "no room", at_s=10.0), POLICY)
    assert isinstance(decision.state, Running) and decision.effects == ()
    assert next_deadline(decision.state, POLICY) == 13.0


def test_a_worker_that_comes_up_ends_the_pause():
    failed = decide(STARTING, StartFailed("w0", "no memory", at_s=10.0), POLICY).state
    decision = decide(failed, WorkerReady("w1", at_s=10.2), POLICY)
    assert decision.state.roster.start_failures == 0
    assert decision.effects == (StartWorker("w2"),)


def test_a_start_that_takes_too_long_is_killed_and_counts_as_failed_when_it_is_dead():
    assert next_deadline(STARTING, POLICY) == 100.0
    overdue = decide(STARTING, Timer(100.0), POLICY)
    assert overdue.effects == (Kill("w0"), Kill("w1"))
    assert overdue.because == "w0 and w1 took too long to start"
    decision = decide(overdue.state, WorkerLost("w0", "SIGKILL", at_s=100.1), POLICY)
    assert decision.state.roster.start_failures == 1 and decision.state.roster.starting == (Start("w1", 200.0),)
