"""What the callbacks decided at a boundary. Light to import: the driver speaks of it before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class BoundaryDecision:
    """What the callbacks decided at a boundary, to be applied by every worker before the next tick.

    Args:
        learning_rate: the new one, or None to keep it.
        optimizers: new counters of optimizers, by attribute of the model, as their `state_dict()` has them, or None to keep them.
        arrays: new values of weights and slots, by the names of `Replica.state_dict`, or None to keep them.
        frozen: what must not be changed from now on, or None to keep that.
        end_phase: go on after the rest of this phase (a callback stopped training within an epoch).
        end_call: no more ticks.
        save: commit a checkpoint of the state after these decision.
    """

    learning_rate: float | None = None
    optimizers: dict[str, dict[str, Any]] | None = None
    arrays: dict[str, np.ndarray] | None = None
    frozen: dict[str, list[str]] | None = None
    end_phase: bool = False
    end_call: bool = False
    save: bool = False
