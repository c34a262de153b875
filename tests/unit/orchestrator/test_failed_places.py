"""A worker whose place does not do its part: ended and replaced after a pause, and nobody's samples are blamed."""

from dataclasses import replace

import pytest

from disttrain.orchestrator import (
    Kill,
    PlaceFailed,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    Starting,
    StartWorker,
    Stopped,
    Timer,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
    next_deadline,
)

POLICY = RecoveryPolicy(workers=2, virtual_workers=2, start_backoff_s=1.0, start_backoff_max_s=8.0, poison_limit=2)
RUNNING = Running(Roster(2, 1), ("w0", "w1"), tick=7)
ECC = "CUDA error: uncorrectable ECC error encountered"


def test_a_member_is_killed_and_its_replacement_started_after_a_pause():
    failed = decide(RUNNING, PlaceFailed("w1", ECC, at_s=10.0), POLICY)
    assert failed.effects == (Kill("w1"),) and failed.because == f"the place of w1 failed: {ECC}"
    lost = decide(failed.state, WorkerLost("w1", "killed", at_s=10.1), POLICY)
    assert not any(isinstance(effect, StartWorker) for effect in lost.effects)
    formed = decide(lost.state, Stopped("w0", 1, 7, at_s=10.2), POLICY)
    assert isinstance(formed.state, Running) and next_deadline(formed.state, POLICY) == 11.0
    assert decide(formed.state, Timer(11.0), POLICY).effects == (StartWorker("w2"),)


def test_no_sample_is_blamed_however_often_it_happens_at_one_step():
    state, at_s = RUNNING, 0.0
    for number in range(4):
        at_s += 100.0
        member = state.members[-1]
        state = decide(state, PlaceFailed(member, ECC, at_s), POLICY).state
        state = decide(state, WorkerLost(member, "exit code 1", at_s, crashed=True), POLICY).state
        state = decide(state, Stopped("w0", number * 2 + 1, 7, at_s), POLICY).state
        new = f"w{number + 2}"
        at_s += 50.0
        state = decide(state, Timer(at_s), POLICY).state
        state = decide(state, WorkerReady(new, at_s), POLICY).state
        state = decide(state, Stopped("w0", number * 2 + 2, 7, at_s), POLICY).state
        assert isinstance(state, Running), state
    assert state.roster.trouble.losses == 0


def test_the_pause_grows_while_the_call_gets_no_further():
    def pause(breaks):
        roster = Roster(2, 1)
        state = Running(roster, ("w0", "w1"), tick=7)
        for _ in range(breaks):
            state = Running(_broken(state.roster), ("w0", "w1"), tick=7)
        return decide(state, PlaceFailed("w1", ECC, at_s=10.0), POLICY).state.roster.start_after_s - 10.0

    assert [pause(breaks) for breaks in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def _broken(roster):
    return replace(roster, trouble=roster.trouble.after_break(7, ()))


def test_one_that_starts_counts_as_a_failed_start_once_it_is_dead():
    state = Starting(Roster(2, starting=(Start("w0", 300.0), Start("w1", 300.0))), since_s=0.0)
    failed = decide(state, PlaceFailed("w0", "no CUDA-capable device is detected", at_s=10.0), POLICY)
    assert failed.effects == (Kill("w0"),) and failed.state.roster.start_failures == 0
    lost = decide(failed.state, WorkerLost("w0", "killed", at_s=10.5), POLICY)
    assert lost.state.roster.start_failures == 1 and lost.state.roster.start_after_s == 11.5


@pytest.mark.parametrize("state", [Waiting(Roster(2, 1), (), since_s=0.0), Starting(Roster(2), since_s=0.0)])
def test_one_that_is_no_worker_of_the_run_any_more_is_left_alone(state):
    assert decide(state, PlaceFailed("w1", ECC, at_s=1.0), POLICY).effects == (StartWorker("w2"), StartWorker("w3"))


def test_a_report_that_comes_twice_kills_once():
    once = decide(RUNNING, PlaceFailed("w1", ECC, at_s=10.0), POLICY)
    twice = decide(once.state, PlaceFailed("w1", ECC, at_s=10.1), POLICY)
    assert twice.effects == () and twice.state == once.state
