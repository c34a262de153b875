"""What is decided about one of many thousands of workers is decided without a walk over the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from disttrain.orchestrator import (
    CheckpointCommitted,
    Decision,
    Form,
    Gathering,
    Progress,
    RecoveryPolicy,
    Running,
    StartFailed,
    Starting,
    Stopped,
    Waiting,
    WorkerLost,
    WorkerReady,
    decide,
    first_call,
    next_deadline,
)
from disttrain.orchestrator.shared_tuple import SharedTuple

MANY = 3000
NAMES = [f"w{number}" for number in range(MANY)]


class Walks:
    """Counts the walks over something with hundreds of entries."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        walk = SharedTuple.__iter__

        def counted(shared: SharedTuple[object]) -> Iterator[object]:
            self.count += len(shared) > 100
            return walk(shared)

        patch.setattr(SharedTuple, "__iter__", counted)


@pytest.fixture
def walks(monkeypatch) -> Walks:
    return Walks(monkeypatch)


def policy(**changes: object) -> RecoveryPolicy:
    return RecoveryPolicy(**{"workers": MANY, "virtual_workers": MANY, "wait_s": 1e6, **changes})


def all_ready(rules: RecoveryPolicy) -> Decision:
    decision = first_call(rules, at_s=0.0)
    for name in NAMES:
        decision = decide(decision.state, WorkerReady(name, 1.0), rules)
    assert isinstance(decision.state, Running) and len(decision.state.members) == MANY
    return decision


def test_workers_that_become_ready_one_after_the_other_cost_no_walk_for_each(walks):
    rules = policy()
    decision = first_call(rules, at_s=0.0)
    for name in NAMES[:-1]:
        decision = decide(decision.state, WorkerReady(name, 1.0), rules)
        assert next_deadline(decision.state, rules) is not None
    assert isinstance(decision.state, Starting)
    assert walks.count < 10  # what is left of a list is written anew each time that half of it is gone


def test_a_forming_in_which_all_stop_walks_a_few_times_and_not_once_for_each(walks):
    rules = policy()
    state = all_ready(rules).state
    walks.count = 0
    state = decide(state, WorkerLost("w7", "killed", 2.0), rules).state
    for name in NAMES:
        if name != "w7":
            assert isinstance(state, Gathering)
            decision = decide(state, Stopped(name, 1, 5, 2.5), rules)
            state = decision.state
    form = next(effect for effect in decision.effects if isinstance(effect, Form))
    assert len(form.members) == MANY - 1 and form.members[:8] == ("w0", "w1", "w2", "w3", "w4", "w5", "w6", "w8")
    # the last few are called by their names, which takes a walk for each; then the group is formed
    assert walks.count < 50


def test_the_loss_of_all_of_them_one_after_the_other_costs_no_walk_for_each(walks):
    rules = policy(poison_limit=10)
    state = all_ready(rules).state
    state = decide(state, CheckpointCommitted("c1", 4, 2.0), rules).state
    walks.count = 0
    for name in NAMES:
        state = decide(state, WorkerLost(name, "power cut", 3.0), rules).state
    assert isinstance(state, Waiting) and len(state.roster.starting) == MANY
    assert walks.count < 20


def test_steps_and_failed_starts_of_a_large_run_cost_no_walks(walks):
    rules = policy(start_failure_limit=10**6)
    state = all_ready(rules).state
    state = decide(state, WorkerLost("w7", "killed", 2.0), rules).state
    walks.count = 0
    decide(state, Progress(1, 6, 2.0), rules)
    decide(state, StartFailed(f"w{MANY}", "no room", 2.0), rules)
    assert walks.count == 0


def test_of_a_crowd_the_words_name_the_first_and_count_the_rest():
    rules = policy()
    decision = all_ready(rules)
    assert "generation 1 is w0, w1" in decision.because and decision.because.count(",") < 20
    assert f"and {MANY - 15} others" in decision.because
    decision = decide(decision.state, WorkerLost("w7", "killed", 2.0), rules)
    assert f"waiting for {MANY - 1} of {MANY - 1} to stop" in decision.because
