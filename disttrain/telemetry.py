"""What a callback may ask of the training around it, beyond Keras's hooks. Values, filled in by whoever carries the call out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Recovery:
    """Workers were lost and the others went on.

    Args:
        step: optimizer steps done when the loss was seen.
        seconds: from then to the next completed step.
        workers: how many were lost.
    """

    step: int
    seconds: float
    workers: int


@dataclass(frozen=True, slots=True)
class Save:
    """A checkpoint of the run was committed.

    Args:
        step: of the state in it.
        seconds: from the step boundary to the commit, beside the training.
        stall_seconds: how long the training itself stood still for it, on the slowest worker.
        size_bytes: what was written.
    """

    step: int
    seconds: float
    stall_seconds: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pace:
    """One worker's mean seconds for a training step, over the steps since the fit began or the worker joined.

    Args:
        step_seconds: from one step to the next.
        compute_seconds: of those, its own forward and backward passes and update.
        data_seconds: waiting for samples.
        exchange_seconds: sending, receiving and waiting for other workers.
    """

    step_seconds: float
    compute_seconds: float
    data_seconds: float
    exchange_seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """How the training fares since this process began the fit; what a resumed run lost before is not in it.

    Args:
        elapsed_seconds: since the first step could begin.
        recovery_seconds: without progress after losses of workers.
        save_seconds: standing still for checkpoints.
        data_seconds: waiting for samples, on the slowest worker.
        callback_seconds: inside callbacks, while the workers wait.
        steps: optimizer steps completed.
        workers: alive now; 1 without a launch.
        wanted_workers: asked for.
        recoveries, saves: the newest, in order: all of them, until there are very many.
        earlier_recoveries, earlier_saves: how many came before those.
        paces: of each worker by name; "local" without a launch.
    """

    elapsed_seconds: float = 0.0
    recovery_seconds: float = 0.0
    save_seconds: float = 0.0
    data_seconds: float = 0.0
    callback_seconds: float = 0.0
    steps: int = 0
    workers: int = 1
    wanted_workers: int = 1
    recoveries: tuple[Recovery, ...] = ()
    saves: tuple[Save, ...] = ()
    earlier_recoveries: int = 0
    earlier_saves: int = 0
    paces: dict[str, Pace] = field(default_factory=dict)

    @property
    def goodput(self) -> float:
        """The share of the time that went into training steps, from 0 to 1; 1 before any time has passed."""
        lost = self.recovery_seconds + self.save_seconds + self.data_seconds
        return max(0.0, 1.0 - lost / self.elapsed_seconds) if self.elapsed_seconds > 0 else 1.0


class Telemetry(Protocol):
    """What `callback.telemetry` is while a fit runs."""

    run_dir: str | None
    """The run directory of a launch, None without one."""

    facts: dict[str, Any]
    """What the run is, in JSON types: virtual_workers, workers, seed, batch_size, samples, script, versions."""

    def health(self) -> Health:
        """How the training fares, as far as is known now."""

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of the newest training step, the mean over the global batch, by weight name; for callbacks with
        `wants_gradients` only, at a batch or epoch end. Under a launch it is fetched then and only then."""

    def tell(self, event: str, /, **details: Any) -> None:
        """Put something, in JSON types, on the timeline of the run directory; without a launch nothing happens."""
