"""The state diagrams, drawn from the tables that `decide` and `advance` run by: `python -m disttrain.orchestrator.diagram`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disttrain.orchestrator.call import CALL_RULES
from disttrain.orchestrator.call_states import Opening, Over
from disttrain.orchestrator.rules import RULES
from disttrain.orchestrator.states import Ended, Starting


def mermaid() -> str:
    """The group of a call, as Mermaid text (`stateDiagram-v2`): each arrow bears the events that can cause it; what changes no state is
    left out."""
    return _drawn(RULES, Starting, Ended)


def call_mermaid() -> str:
    """The call itself, drawn in the same way."""
    return _drawn(CALL_RULES, Opening, Over)


def _drawn(rules_of: Mapping[Any, Mapping[Any, Any]], first: type, last: type) -> str:
    lines = ["stateDiagram-v2", f"    [*] --> {first.__name__}: a call begins"]
    for state, rules in rules_of.items():
        causes: dict[str, list[str]] = {}
        for event, rule in rules.items():
            for target in rule.leads_to:
                if target is not state:
                    causes.setdefault(target.__name__, []).append(event.__name__)
        lines += [f"    {state.__name__} --> {target}: {', '.join(events)}" for target, events in causes.items()]
    return "\n".join([*lines, f"    {last.__name__} --> [*]"])


if __name__ == "__main__":
    print(mermaid(), call_mermaid(), sep="\n\n")
