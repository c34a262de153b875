"""What a launch asks of this machine, and whether it can be had."""

from __future__ import annotations

import math

import torch

from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig


def check_gpus(config: RunConfig) -> None:
    """Raise UsageError where a Ray is to be started here with more GPUs than there are. A cluster may get its machines later."""
    most = (config.max_workers or config.workers) + config.spares
    asked = math.ceil(most * config.gpus_per_worker)
    if config.address is not None or not asked:
        return
    there = torch.cuda.device_count()
    if there < asked:
        why = "" if torch.version.cuda or torch.version.hip else f"; this torch, {torch.__version__}, is built without GPUs"
        raise UsageError(
            f"--gpus-per-worker {config.gpus_per_worker:g} needs {asked} GPUs for up to {most} workers and spares.\n"
            f"  expected  at most as many as this machine has: {there}{why}\n"
            f"  try       {'fewer --workers, ' if there else ''}--gpus-per-worker 0 to train on CPUs, or --address of a cluster with them"
        )
