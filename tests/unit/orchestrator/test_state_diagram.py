"""The table is whole, and the diagram says what it says."""

from typing import get_args

import pytest

from disttrain.orchestrator import Event, Live, State
from disttrain.orchestrator.diagram import mermaid
from disttrain.orchestrator.rules import RULES


@pytest.mark.parametrize("state", get_args(Live), ids=lambda state: state.__name__)
def test_every_event_has_a_rule_in_every_live_state(state: type[State]):
    assert set(RULES[state]) == set(get_args(Event))


def test_the_diagram_has_an_arrow_for_each_change_of_state():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    Running --> Gathering: WorkerReady, WorkerLost, Stopped" in lines
    assert "    Waiting --> Running: WorkerReady" in lines
    assert not [line for line in lines if line.startswith("    Ended --> ") and not line.endswith("[*]")]
