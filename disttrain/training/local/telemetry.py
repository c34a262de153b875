"""What callbacks may ask of a training in one process."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch

from disttrain.telemetry import Health
from disttrain.training.job import Job
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.step_times import clock


class LocalTelemetry:
    """See `disttrain.telemetry.Telemetry`."""

    run_dir: str | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine, self._began = engine, clock()
        self.facts = facts_of(engine.job, workers=1, script=os.path.basename(sys.argv[0]))
        self.callback_seconds = 0.0

    def health(self) -> Health:
        step_times = self._engine.by_products.step_times
        return Health(
            elapsed_seconds=clock() - self._began,
            data_seconds=step_times.data_seconds,
            callback_seconds=self.callback_seconds,
            steps=step_times.steps,
            paces={"local": step_times.pace()},
        )

    def gradients(self) -> dict[str, np.ndarray]:
        return self._engine.by_products.gradient_arrays()

    def tell(self, event: str, /, **details: Any) -> None:
        """There is no run directory."""


def facts_of(job: Job, *, workers: int, script: str) -> dict[str, Any]:
    """What a run is, in JSON types."""
    plan = job.program.plan(Kind.TRAIN)
    return {
        "script": script,
        "workers": workers,
        "virtual_workers": job.virtual_workers,
        "seed": job.seed,
        "epochs": job.program.epochs,
        "samples": plan.samples,
        "batch_size": int(plan.batch_size),
        "steps_per_epoch": plan.known_steps,
        "optimizer": type(job.model.optimizer).__name__,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
