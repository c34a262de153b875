"""What a call of fit, evaluate or predict asks for: values that travel to the workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from disttrain.data import Source
from disttrain.determinism import Numerics, numerics
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
        example: (x, y, sample_weight) of some samples, from which losses and metrics learn their shapes.
        start_tick: where it begins; not 0 where a callback found that part of it was done before.
        keeps_gradients: is the sum of the gradients of the last step asked for?
        ends_at_nan: end the training at a loss that is NaN or infinite, instead of raising.
        has_outputs: can the model be called? A model that trains by a `train_step` of its own may define no `call`.
        call: its number among those of the script.
        numerics: how GPUs are to compute, as the process that makes the job has it.
    """

    kind: str
    model: Any
    program: Program
    sources: dict[Kind, Source]
    virtual_workers: int
    seed: int
    example: tuple[Any, Any, Any]
    class_weight: dict[int, float] | None = None
    has_outputs: bool = True
    start_tick: int = 0
    keeps_gradients: bool = False
    ends_at_nan: bool = False
    call: int = 0
    numerics: Numerics = field(default_factory=numerics)
