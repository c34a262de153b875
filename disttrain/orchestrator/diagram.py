"""The state diagram, drawn from the table that `decide` runs by: `python -m disttrain.orchestrator.diagram`."""

from __future__ import annotations

from disttrain.orchestrator.rules import RULES
from disttrain.orchestrator.states import Ended, Starting


def mermaid() -> str:
    """Mermaid text (`stateDiagram-v2`): each arrow bears the events that can cause it; what changes no state is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {Starting.__name__}: a call begins"]
    for state, rules in RULES.items():
        causes: dict[str, list[str]] = {}
        for event, rule in rules.items():
            for target in rule.leads_to:
                if target is not state:
                    causes.setdefault(target.__name__, []).append(event.__name__)
        lines += [f"    {state.__name__} --> {target}: {', '.join(events)}" for target, events in causes.items()]
    return "\n".join([*lines, f"    {Ended.__name__} --> [*]"])


if __name__ == "__main__":
    print(mermaid())
