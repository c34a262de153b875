"""Train the MLP under `torchrun --max-restarts` until killed, with a checkpoint by hand every so many steps, and stamp each step."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import stamps
import torch
import torch.distributed as dist
from loop import Loop

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True, help="for the stamps")
parser.add_argument("--checkpoint", type=Path, required=True, help="the file that is saved and restored")
parser.add_argument("--checkpoint-every", type=int, default=20, help="optimizer steps between saves")
parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
options = parser.parse_args()

dist.init_process_group("gloo")
loop = Loop("mlp", options.steps)
step = 0
if options.checkpoint.exists():
    saved = torch.load(options.checkpoint)
    loop.network.load_state_dict(saved["model"])
    loop.optimizer.load_state_dict(saved["optimizer"])
    step = saved["step"]
while True:
    x, y = loop.batch(step)
    stamps.stamp(str(options.folder), step)
    loop.train(x, y)
    step += 1
    if step % options.checkpoint_every == 0 and loop.rank == 0:
        beside = options.checkpoint.with_suffix(".new")
        torch.save({"model": loop.network.state_dict(), "optimizer": loop.optimizer.state_dict(), "step": step}, beside)
        os.replace(beside, options.checkpoint)
