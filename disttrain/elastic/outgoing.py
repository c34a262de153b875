"""What a worker sends of its state when it is asked."""

from __future__ import annotations

from typing import Any

from disttrain.training.step.engine import Engine


def arrays_of(engine: Engine, what: str) -> dict[str, Any]:
    """Copies of the "weights", the "slots" of optimizers, or the "gradients" of the last step, by name."""
    if what == "gradients":
        return engine.by_products.gradient_arrays()
    tensors = engine.replica.state_dict().tensors
    chosen = [name for name in tensors if name != "totals" and name.startswith("model/") == (what == "weights")]
    return {name: tensors[name].detach().cpu().numpy().copy() for name in chosen}
