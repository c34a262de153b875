"""What a call of fit, evaluate or predict asks for: values that travel to the workers, and the orders that come back at a boundary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from disttrain.data import Source
from disttrain.training.program import Kind, Program


@dataclass(frozen=True)
class Job:
    """One call.

    Args:
        kind: "fit", "evaluate" or "predict".
        model: a built model, compiled except for predict.
        program: its ticks.
        sources: the samples of each phase.
        virtual_workers: V.
        seed: the run's seed; the key of a slice is drawn from (seed, optimizer step, virtual rank).
        class_weight: weight of each class, by label.
        example: one sample's (x, y), from which losses and metrics learn their shapes.
    """

    kind: str
    model: Any
    program: Program
    sources: dict[Kind, Source]
    virtual_workers: int
    seed: int
    example: tuple[Any, Any]
    class_weight: dict[int, float] | None = None


@dataclass(frozen=True)
class Orders:
    """What the callbacks decided at a boundary, to be applied by every worker before the next tick.

    Args:
        learning_rate: the new one, or None to keep it.
        weights: new values by name, or None to keep them.
        end_phase: go on after the rest of this phase (a callback stopped training within an epoch).
        end_call: no more ticks.
        save: commit a checkpoint of the state after these orders.
    """

    learning_rate: float | None = None
    weights: dict[str, np.ndarray] | None = None
    end_phase: bool = False
    end_call: bool = False
    save: bool = False


@dataclass
class Logs:
    """What is known at a boundary: the means of the epoch so far, validation with the prefix `val_`."""

    values: dict[str, Any] = field(default_factory=dict)
