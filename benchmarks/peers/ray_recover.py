"""Train the MLP under Ray Train v2 until killed, with a checkpoint every so many steps and unlimited failures, and stamp each step.

With --workers 0 it runs in Ray Train's local mode, which starts no Ray: under torchrun, a check of the training function alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any


def train_loop(config: dict[str, Any]) -> None:
    import ray.train
    import stamps
    import torch
    from loop import Loop

    loop = Loop("mlp", config["steps"])
    step = 0
    restored = ray.train.get_checkpoint()
    if restored is not None:
        with restored.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt")
        loop.network.load_state_dict(saved["model"])
        loop.optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    while step != config["most_steps"]:
        x, y = loop.batch(step)
        stamps.stamp(config["folder"], step)
        loop.train(x, y)
        step += 1
        if step % config["checkpoint_every"] == 0:
            # every worker reports; the checkpoint is that of rank 0
            with tempfile.TemporaryDirectory() as folder:
                checkpoint = None
                if loop.rank == 0:
                    state = {"model": loop.network.state_dict(), "optimizer": loop.optimizer.state_dict(), "step": step}
                    torch.save(state, Path(folder) / "state.pt")
                    checkpoint = ray.train.Checkpoint.from_directory(folder)
                ray.train.report({"step": step}, checkpoint=checkpoint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="for the stamps")
    parser.add_argument("--checkpoint-every", type=int, default=20, help="optimizer steps between saves")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
    parser.add_argument("--most-steps", type=int, default=-1, help="stop after so many; -1 goes on until killed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray-folder", type=Path, required=True, help="for Ray's session and the storage; a short path, sockets lie in it")
    options = parser.parse_args()

    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = options.ray_folder.resolve()
    if options.workers:
        ray.init(num_cpus=max(os.cpu_count() or 1, options.workers), _temp_dir=str(folder / "ray"))
    TorchTrainer(
        train_loop,
        train_loop_config={
            "steps": options.steps,
            "most_steps": options.most_steps,
            "checkpoint_every": options.checkpoint_every,
            "folder": str(options.folder.resolve()),  # workers have a working directory of their own
        },
        scaling_config=ScalingConfig(num_workers=options.workers),
        run_config=RunConfig(
            name="bench",
            storage_path=str(folder / "storage"),
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    ).fit()
