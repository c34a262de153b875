"""The door: whoever gets other bits for one slice does not join, by name; whoever gets the same does."""

from __future__ import annotations

import pytest
import torch
from thread_runs import V, driven, make_model, train

from disttrain import layers
from disttrain.errors import NondeterministicStep
from disttrain.testing.faulty_processor import PRODUCTS, UPDATES, OtherProcessor
from disttrain.training.local import runner


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


def on(hosts, operations=PRODUCTS, workers=None, **options):
    """A run of a worker on each host; those called bad round otherwise."""
    processors = {host: OtherProcessor(operations).computing for host in hosts if host.startswith("bad")}
    return driven(workers or len(hosts), hosts=hosts, processors=processors, **options)


@pytest.mark.parametrize("hosts", [("good-1", "good-2", "bad"), ("bad", "good-1", "good-2"), ("good-1", "bad"), ("bad", "good-1")])
def test_a_worker_of_another_processor_stays_outside_by_name(hosts, alone):
    with on(hosts) as run:
        assert train() == alone
        (event,) = run.events("refused")
        assert event["host"] == "bad" and event["tensor"].startswith("gradient/") and event["processor"]
        assert event["worker"] == f"w{hosts.index('bad')}"
        assert run.cluster.avoided == {"bad"}
    assert any("on bad" in note and "refused" in note and event["tensor"] in note for note in run.notes)


def test_one_whose_updates_round_otherwise_stays_outside_too(alone):
    with on(("good-1", "good-2", "bad"), UPDATES) as run:
        assert train() == alone
        assert [event["tensor"].split("/")[0] for event in run.events("refused")] == ["update"]


def test_a_newcomer_of_another_processor_is_refused_while_the_others_train(alone):
    with on(("good-1", "good-2", "bad"), workers=2, spares=1) as run:
        assert train() == alone
        assert [event["worker"] for event in run.events("refused")] == ["w2"]
        assert sorted(run.events("formed")[0]["members"]) == ["w0", "w1"]


def test_without_the_door_everybody_joins():
    with on(("good-1", "good-2", "bad"), admission=False) as run:
        train()
        assert not run.events("refused") and sorted(run.events("formed")[0]["members"]) == ["w0", "w1", "w2"]


def test_a_step_that_is_not_deterministic_is_found_at_the_door():
    class Chance(layers.Layer):
        def call(self, x):
            return x * torch.rand((), generator=generator)

    generator = torch.Generator()
    with pytest.raises(NondeterministicStep, match="computes it twice: first in gradient/"), driven(2):
        train(model=make_model(Chance()))
