"""Train a workload for some epochs and write down when each one ended: a script for `disttrain launch`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import workloads
from models import compile_as_the_peers_do, model

import disttrain as dt


class EpochClock(dt.callbacks.Callback):
    """Notes the moment each epoch ended, in the driver, where callbacks run."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.moments.append(time.perf_counter())


parser = argparse.ArgumentParser()
parser.add_argument("--workload", required=True, choices=sorted(workloads.WORKLOADS))
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
parser.add_argument("--moments", type=Path, help="JSON file for the seconds at which the epochs ended")
options = parser.parse_args()

x, y = workloads.arrays(options.workload, options.steps)
network = model(options.workload)
compile_as_the_peers_do(network)
clock = EpochClock()
network.fit(x, y, batch_size=workloads.WORKLOADS[options.workload].batch_size, epochs=options.epochs, verbose=0, callbacks=[clock])
if options.moments is not None:
    options.moments.write_text(json.dumps(clock.moments))
