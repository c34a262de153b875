"""What a worker sends of its state when it is asked."""

from __future__ import annotations

from typing import Any

from disttrain.host_numbers import plain
from disttrain.training.program import Position
from disttrain.training.step.engine import Engine


def arrays_of(engine: Engine, what: str) -> dict[str, Any]:
    """Copies of the "weights", the "slots" of optimizers, or the "gradients" of the last step, by name."""
    if what == "gradients":
        return engine.by_products.gradient_arrays()
    tensors = engine.replica.state_dict().tensors
    chosen = [name for name in tensors if name != "totals" and name.startswith("model/") == (what == "weights")]
    return {name: plain(tensors[name]).copy() for name in chosen}


def state_of(engine: Engine) -> dict[str, Any]:
    """Copies of the whole state, as arrays by name, and the rest of it."""
    state = engine.replica.state_dict()
    arrays = {name: plain(tensor).copy() for name, tensor in state.tensors.items()}
    return {"arrays": arrays, "meta": dict(state.meta)}


def at_boundary(engine: Engine, position: Position) -> tuple[Any, ...]:
    """What the driver is told at a boundary: the logs, the counters of the main optimizer, those of others."""
    return engine.logs(position), engine.replica.main_counters(), engine.replica.counters()


def rest(engine: Engine | None) -> None:
    """Nothing comes after this: what reads ahead ends."""
    if engine is not None:
        engine.rest()
