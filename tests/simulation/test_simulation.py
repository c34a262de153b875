"""The real controller, call machine and `decide` on simulated time, under faults from seeds: every promise is kept.

DISTTRAIN_SIMULATION_EVENTS says how many events (1,000,000), DISTTRAIN_SIMULATION_SEED the first seed (0). One seed again:
`python -m disttrain.testing.simulation SEED`.
"""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

from disttrain.testing.simulation.__main__ import told
from disttrain.testing.simulation.run import simulate
from disttrain.testing.simulation.scenario import scenario_of
from disttrain.testing.simulation.shrink import shrink

EVENTS = int(os.environ.get("DISTTRAIN_SIMULATION_EVENTS", "1_000_000"))
FIRST_SEED = int(os.environ.get("DISTTRAIN_SIMULATION_SEED", "0"))


def test_every_promise_is_kept_whatever_goes_wrong(tell):
    seed, events, simulated_s = FIRST_SEED, 0, 0.0
    began, faults, endings = time.process_time(), Counter(), Counter()
    while events < EVENTS:
        outcome = simulate(scenario_of(seed))
        if outcome.failure is not None:
            small = simulate(shrink(outcome.scenario))
            pytest.fail(
                f"seed {seed}: {outcome.failure}\n\nreplay it: python -m disttrain.testing.simulation {seed}\n\nmade small:\n{told(small)}",
                pytrace=False,
            )
        seed, events, simulated_s = seed + 1, events + outcome.events, simulated_s + outcome.seconds
        faults.update(fault.kind for fault in outcome.struck)
        endings.update(ending.split(":")[0] for ending in outcome.endings)
    took = time.process_time() - began
    tell(
        f"simulation: {events:,} events in {seed - FIRST_SEED:,} runs, seeds {FIRST_SEED} to {seed - 1}; "
        f"{simulated_s / 3600:.0f} simulated hours in {took:.0f} s of processor time, {1e6 * took / events:.0f} us an event"
    )
    tell(f"simulation: {faults.total():,} faults struck: {', '.join(f'{count} {kind}' for kind, count in faults.most_common())}")
    tell(f"simulation: starts of the driver ended: {', '.join(f'{count} {ending}' for ending, count in endings.most_common())}")
    if EVENTS >= 1_000_000:  # every kind of fault is in so many runs
        assert {"die", "freeze", "busy", "hang", "cut", "part", "driver_dies", "interrupt", "commit_fails", "long_hook"} <= set(faults)


def test_a_seed_gives_the_same_run_again():
    seed = FIRST_SEED + 34
    assert simulate(scenario_of(seed)) == simulate(scenario_of(seed))
