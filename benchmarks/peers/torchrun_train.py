"""The peer of `ours/train.py` under torchrun: DDP over gloo, one thread a worker."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch.distributed as dist
from loop import Loop

parser = argparse.ArgumentParser()
parser.add_argument("--workload", required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
parser.add_argument("--moments", type=Path, help="JSON file for the seconds at which the epochs ended")
parser.add_argument("--first-step", type=Path, help="file for the wall-clock time at which the first optimizer step was done")
options = parser.parse_args()

dist.init_process_group("gloo")
loop = Loop(options.workload, options.steps)
moments: list[float] = []
for step in range(options.epochs * options.steps):
    loop.train(*loop.batch(step))
    if step == 0 and loop.rank == 0 and options.first_step is not None:
        options.first_step.write_text(repr(time.time()))
    if (step + 1) % options.steps == 0:
        moments.append(time.perf_counter())
if loop.rank == 0 and options.moments is not None:
    options.moments.write_text(json.dumps(moments))
dist.destroy_process_group()
