"""Making a failing scenario small: what can be left out while it still fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from disttrain.testing.simulation.run import simulate
from disttrain.testing.simulation.scenario import Scenario


def fails(scenario: Scenario) -> bool:
    """Is a promise broken in it?"""
    return simulate(scenario).failure is not None


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool] = fails) -> Scenario:
    """The same with fewer faults, shorter calls and less noise; every one of its faults is needed.

    Args:
        scenario: one that fails.
        fails: does another fail as well?
    """
    tried = True
    while tried:
        tried = False
        for smaller in _smaller(scenario):
            if fails(smaller):
                scenario, tried = smaller, True
                break
    return scenario


def _smaller(scenario: Scenario) -> list[Scenario]:
    """One thing less, each of them."""
    faults, calls = scenario.faults, scenario.calls
    found = [replace(scenario, faults=(*faults[:place], *faults[place + 1 :])) for place in range(len(faults))]
    if len(calls) > 1:
        found += [replace(scenario, calls=(*calls[:place], *calls[place + 1 :])) for place in range(len(calls))]
    for name in ("doubles", "asks"):
        if getattr(scenario, name):
            found.append(replace(scenario, **{name: 0.0}))  # type: ignore[arg-type]
    plain = {"every_batch": False, "before_validation": False, "stop_after": None, "freeze_at": None, "validation": 0}
    for place, call in enumerate(calls):
        for name, value in plain.items():
            if getattr(call, name) != value:
                simpler = replace(call, **{name: value})  # type: ignore[arg-type]
                found.append(replace(scenario, calls=(*calls[:place], simpler, *calls[place + 1 :])))
    return found
