"""The simulation itself: rules that are broken on purpose are found, each within so many seeds, and a failing run is made small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from disttrain import orchestrator as o
from disttrain.elastic import messages as m
from disttrain.orchestrator import call as calls
from disttrain.orchestrator import membership, rules
from disttrain.orchestrator.call_events import BoundaryReached
from disttrain.orchestrator.patience import Patience
from disttrain.orchestrator.rules import RULES, Rule
from disttrain.testing.simulation.run import Outcome, simulate
from disttrain.testing.simulation.scenario import scenario_of
from disttrain.testing.simulation.script import SimulatedFitHooks
from disttrain.testing.simulation.shrink import shrink
from disttrain.testing.simulation.storage import SimulatedCommitter
from disttrain.testing.simulation.worker import Worker

Break = Callable[[pytest.MonkeyPatch], None]


def found(first: int, seeds: int) -> Outcome:
    """The first run in which a promise is broken, looked for from seed `first` on, and then from 0: all of them take a minute."""
    for seed in (*range(first, seeds), *range(first)):
        outcome = simulate(scenario_of(seed))
        if outcome.failure is not None:
            return outcome
    pytest.fail(f"{seeds} runs, and nothing was found")


def believe(state: type[o.State], event: type[o.Event], patch: pytest.MonkeyPatch) -> None:
    """A report of an older generation is taken for one of the newest."""
    rule = RULES[state][event]

    def believing(here: Any, said: Any, policy: o.RecoveryPolicy) -> Any:
        return rule.then(here, replace(said, generation=here.roster.generation), policy)

    patch.setitem(RULES[state], event, Rule(believing, rule.leads_to))  # type: ignore[arg-type]


def a_late_report_is_believed(patch: pytest.MonkeyPatch) -> None:
    believe(o.Running, o.Stopped, patch)
    believe(o.Gathering, o.Stopped, patch)


def the_fence_of_saves_is_left_out(patch: pytest.MonkeyPatch) -> None:
    take = SimulatedCommitter.take
    patch.setattr(SimulatedCommitter, "take", lambda self, part, own: take(self, replace(part, generation=0), own))


def a_request_between_form_and_its_obeying_is_dropped(patch: pytest.MonkeyPatch) -> None:
    receive = Worker.receive

    def dropping(self: Worker, command: object) -> None:
        if not isinstance(command, m.Request) or (command.call, command.generation) == (self.call_number, self.generation):
            receive(self, command)

    patch.setattr(Worker, "receive", dropping)


def hooks_run_whenever_a_boundary_is_reported(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedFitHooks, "handled", property(lambda self: -1))
    for state in (calls.Stepping, calls.Halting):
        rule = calls.CALL_RULES[state][BoundaryReached]

        def forgetful(here: Any, said: Any, rule: calls.CallRule = rule) -> Any:
            return rule.then(replace(here, known=replace(here.known, answered=None)), said)

        patch.setitem(calls.CALL_RULES[state], BoundaryReached, calls.CallRule(forgetful, rule.leads_to))  # type: ignore[arg-type]


def a_save_is_announced_and_lost(patch: pytest.MonkeyPatch) -> None:
    queue = SimulatedCommitter.queue
    patch.setattr(SimulatedCommitter, "queue", lambda self, work: queue(self, work) if work[0][0].tick % 5 else None)


def whoever_computes_for_30_s_is_killed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Patience, "limit_s", lambda self: 30.0)


def nobody_is_waited_for_in_a_break(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Patience, "working", lambda self, at_s: frozenset())


def kills_of_our_own_are_blamed_on_the_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(membership, "blamed", lambda state, event: ((event.worker,), (event.reason,)))


def the_newest_checkpoint_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    rule = RULES[o.Running][o.CheckpointCommitted]
    forgetting = Rule(lambda state, event, policy: rules.late(state, event, policy), rule.leads_to)
    patch.setitem(RULES[o.Running], o.CheckpointCommitted, forgetting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("break_it", "first", "seeds"),
    [
        (a_late_report_is_believed, 40, 400),
        (the_fence_of_saves_is_left_out, 0, 1000),
        (a_request_between_form_and_its_obeying_is_dropped, 160, 1000),
        (hooks_run_whenever_a_boundary_is_reported, 150, 400),
        (a_save_is_announced_and_lost, 0, 100),
        (whoever_computes_for_30_s_is_killed, 0, 400),
        (nobody_is_waited_for_in_a_break, 0, 400),
        (kills_of_our_own_are_blamed_on_the_batch, 550, 4000),
        (the_newest_checkpoint_is_forgotten, 40, 400),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_broken_rule_is_found(break_it: Break, first: int, seeds: int, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]):
    break_it(monkeypatch)
    outcome = found(first, seeds)
    small = shrink(outcome.scenario)
    again = simulate(small)
    assert again.failure is not None and not again.failure.startswith(("TypeError", "AttributeError"))
    assert len(small.faults) <= len(outcome.scenario.faults)
    monkeypatch.undo()
    assert simulate(outcome.scenario).failure is None and simulate(small).failure is None
    needed = ", ".join(fault.kind for fault in small.faults) or "no fault at all"
    tell(
        f"simulation: {break_it.__name__.replace('_', ' ')}: found by seed {outcome.scenario.seed}, needs {needed}: "
        f"{again.failure.splitlines()[0][:110]}"
    )


def test_a_failing_run_is_made_small_until_every_fault_in_it_is_needed():
    scenario = next(scenario for scenario in map(scenario_of, range(1000)) if len(scenario.faults) >= 6)
    needed = set(scenario.faults[1:3])
    small = shrink(scenario, lambda other: needed <= set(other.faults))
    assert set(small.faults) == needed and len(small.calls) == 1 and not small.doubles and not small.asks
