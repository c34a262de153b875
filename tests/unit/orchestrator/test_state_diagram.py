"""The tables are whole, and the diagrams say what they say."""

from pathlib import Path
from typing import get_args

import pytest

from disttrain.orchestrator import Event, Live, State
from disttrain.orchestrator.call import CALL_RULES
from disttrain.orchestrator.call_events import CallEvent, GroupChanged
from disttrain.orchestrator.call_states import CallState, Over
from disttrain.orchestrator.diagram import call_mermaid, mermaid
from disttrain.orchestrator.rules import RULES


@pytest.mark.parametrize("state", get_args(Live), ids=lambda state: state.__name__)
def test_every_event_has_a_rule_in_every_live_state(state: type[State]):
    assert set(RULES[state]) == set(get_args(Event))


def test_a_call_knows_in_every_state_what_a_changed_group_means_and_only_of_events_that_there_are():
    assert set(CALL_RULES) == set(get_args(CallState)) - {Over}
    for rules in CALL_RULES.values():
        assert GroupChanged in rules and set(rules) <= set(get_args(CallEvent))


def test_the_diagram_has_an_arrow_for_each_change_of_state():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    Running --> Gathering: WorkerReady, WorkerLost, GroupStuck, ReplicasDiffer, Stopped" in lines
    assert "    Waiting --> Running: WorkerReady" in lines
    assert not [line for line in lines if line.startswith("    Ended --> ") and not line.endswith("[*]")]


def test_the_diagram_of_the_call_has_an_arrow_for_each_change_of_state():
    lines = call_mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    Stepping --> InHooks: BoundaryReached" in lines
    assert "    InHooks --> RollingBack: HooksDone" not in mermaid() and "    InHooks --> RollingBack: HooksDone" in lines
    assert not [line for line in lines if line.startswith("    Over --> ") and not line.endswith("[*]")]


def test_the_architecture_page_shows_both():
    page = (Path(__file__).resolve().parents[3] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert mermaid() in page and call_mermaid() in page
