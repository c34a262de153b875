"""The learning rates of a model: one, or one for each optimizer within a MultiOptimizer."""

from __future__ import annotations

from typing import Any


def rated(optimizer: Any) -> dict[str, Any]:
    """`{name in logs: optimizer}`: `learning_rate`, or `learning_rate_<name of the optimizer>` of each within."""
    found: dict[str, Any] = {}
    within = getattr(optimizer, "optimizers", None)
    if within is None:
        return {"learning_rate": optimizer}
    for one in within:
        name, number = f"learning_rate_{one.name}", 0
        while name in found:
            number += 1
            name = f"learning_rate_{one.name}_{number}"
        found[name] = one
    return found


def rates(optimizer: Any) -> dict[str, float]:
    """The rates of the next update, by name in logs."""
    return {name: float(one.learning_rate) for name, one in rated(optimizer).items()}


def named(name: str) -> str:
    """What a line says of the rate called so: "", or which optimizer it is."""
    return name.removeprefix("learning_rate").replace("_", "", 1) + " " if name != "learning_rate" else ""
