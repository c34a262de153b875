"""The peer of `ours/train.py` under Ray Train v2: `TorchTrainer`, Ray started on this machine, storage on the local disk.

With --workers 0 it runs in Ray Train's local mode, which starts no Ray: under torchrun, a check of the training function alone.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any


def train_loop(config: dict[str, Any]) -> None:
    from loop import Loop

    loop = Loop(config["workload"], config["steps"])
    for step in range(config["epochs"] * config["steps"]):
        loop.train(*loop.batch(step))
        if step == 0 and loop.rank == 0:
            Path(config["first_step"]).write_text(repr(time.time()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray-folder", type=Path, required=True, help="for Ray's session and the storage; a short path, sockets lie in it")
    parser.add_argument("--first-step", type=Path, required=True, help="file for the wall-clock time at which the first step was done")
    options = parser.parse_args()

    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = options.ray_folder.resolve()
    if options.workers:
        ray.init(num_cpus=max(os.cpu_count() or 1, options.workers), _temp_dir=str(folder / "ray"))
    TorchTrainer(
        train_loop,
        train_loop_config={
            "workload": options.workload,
            "steps": options.steps,
            "epochs": options.epochs,
            "first_step": str(options.first_step.resolve()),  # workers have a working directory of their own
        },
        scaling_config=ScalingConfig(num_workers=options.workers),
        run_config=RunConfig(name="bench", storage_path=str(folder / "storage")),
    ).fit()
