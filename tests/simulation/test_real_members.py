"""Small cases with real Members, real steps and in-process collectives: whatever random plan of deaths, the bits are those of one process.

What the models of the simulation stand for is held here to the real thing.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nccl_like import carrying_runs
from thread_runs import EPOCH_TICKS, EveryBatch, V, driven, train

from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner

deaths = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3 * EPOCH_TICKS - 1), st.sampled_from(["before", "after"])),
    min_size=1,
    max_size=4,
    unique_by=lambda death: death[1],  # three at one and the same tick are called poison, and rightly
)


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


@pytest.mark.parametrize("carrying", [nullcontext, carrying_runs], ids=["memory", "nccl_like"])
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(workers=st.integers(1, 4), deaths=deaths, every_batch=st.booleans(), every=st.sampled_from(["epoch", "2steps"]))
def test_random_deaths_change_no_bit(alone, carrying, workers, deaths, every_batch, every):
    plan = FaultPlan()
    for worker, tick, place in deaths:
        plan.kill(f"w{worker}", tick, place)
    with carrying(), driven(workers, plan, every=every) as run:
        assert train(EveryBatch() if every_batch else None) == alone
    told = [(event["tick"], event["generation"]) for event in run.events("formed")]
    assert told == sorted(told, key=lambda formed: formed[1])
