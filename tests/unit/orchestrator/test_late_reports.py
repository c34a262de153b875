"""Reports that come late, twice, or cannot be."""

import pickle

import pytest

from disttrain.orchestrator import (
    CallFinished,
    Event,
    Gathering,
    Holding,
    IllegalTransition,
    Progress,
    RecoveryPolicy,
    Roster,
    Running,
    Start,
    StartFailed,
    Starting,
    State,
    Stopped,
    UserError,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
)

POLICY = RecoveryPolicy(workers=2, virtual_workers=2)
RUNNING = Running(Roster(next_worker=3, generation=4), ("w0", "w1"), tick=47)
GATHERING = Gathering(Roster(3, 4), ("w0", "w1"), 47, (Holding("w0", 47),), (), planned=False, deadline_s=130.0)
WAITING = Waiting(Roster(3, 4, (Start("w2", 999.0), Start("w1", 999.0))), (), since_s=0.0)
STARTING = Starting(Roster(3, 4, (Start("w2", 999.0), Start("w1", 999.0))), since_s=0.0)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (RUNNING, Stopped("w0", 3, 46, 1.0)),
        (RUNNING, Stopped("w2", 4, 46, 1.0)),  # lost before, and its last words come after that
        (RUNNING, Progress(3, 99, 1.0)),
        (RUNNING, Progress(4, 46, 1.0)),
        (RUNNING, CallFinished(3, 1.0)),
        (RUNNING, UserError("w0", 3, 46, 1.0)),
        (RUNNING, UserError("w0", 0, 0, 1.0)),
        (RUNNING, WorkerLost("w2", "SIGKILL", 1.0)),
        (RUNNING, WorkerReady("w0", 1.0)),
        (RUNNING, StartFailed("w2", "?", 1.0)),
        (GATHERING, Stopped("w0", 4, 48, 1.0)),
        (GATHERING, Stopped("w1", 3, 48, 1.0)),
        (GATHERING, WorkerReady("w1", 1.0)),
        (WAITING, Stopped("w0", 4, 48, 1.0)),
        (WAITING, Progress(4, 48, 1.0)),
        (WAITING, WorkerReady("w0", 1.0)),
        (STARTING, CallFinished(4, 1.0)),  # of the call before
        (STARTING, UserError("w1", 4, 3, 1.0)),
        (STARTING, WorkerReady("w0", 1.0)),
    ],
)
def test_what_is_late_or_repeated_changes_nothing_and_says_so(state: State, event: Event):
    decision = decide(state, event, POLICY)
    assert (decision.state, decision.effects) == (state, ())
    assert "late" in decision.because


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (WorkerReady("w3", 1.0), "no worker was ever named 'w3'"),
        (WorkerLost("v0", "SIGKILL", 1.0), "no worker was ever named 'v0'"),
        (WorkerLost("w", "SIGKILL", 1.0), "no worker was ever named 'w'"),
        (Stopped("w0", 5, 47, 1.0), "generation 5 was never formed; the newest is 4"),
        (StartFailed("w0", "?", 1.0), "w0 has started; its death is WorkerLost"),
    ],
)
def test_what_cannot_be_is_refused_by_name(event: Event, why: str):
    with pytest.raises(IllegalTransition, match=why) as caught:
        decide(RUNNING, event, POLICY)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.state, again.event, str(again)) == (RUNNING, event, str(caught.value))
