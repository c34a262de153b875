"""Train the MLP until a file called `stop` appears, and stamp each step's forward pass: a script for `disttrain launch`.

Each sample carries in its first column the number of the step within its epoch (the data is not shuffled), so the stamps say which step a
forward pass belongs to without asking the library that is being measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import stamps
import workloads
from models import compile_as_the_peers_do
from torch import Tensor

import disttrain as dt
from disttrain import layers
from disttrain.layers.context import current


class StepStamp(layers.Layer):
    """Stamps a training forward pass with the step number in column 0, and passes the other columns on."""

    def __init__(self, folder: str, name: str | None = None) -> None:
        super().__init__(name=name)
        self.folder = folder

    def call(self, x: Tensor) -> Tensor:
        if current().training:
            stamps.stamp(self.folder, int(x[0, 0]))
        return x[:, 1:]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], input_shape[-1] - 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "folder": self.folder}


class StopOnFile(dt.callbacks.Callback):
    """Ends the training with the epoch during which `path` appeared."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.stop_training = self.path.exists()


parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True, help="for the stamps; the training stops when a file `stop` lies in it")
parser.add_argument("--epochs", type=int, default=100_000)
parser.add_argument("--steps", type=int, required=True, help="optimizer steps of an epoch")
options = parser.parse_args()

x, y = workloads.arrays("mlp", options.steps)
batch_size = workloads.WORKLOADS["mlp"].batch_size
step = np.repeat(np.arange(options.steps, dtype=np.float32), batch_size)
x = np.concatenate([step[:, None], x], axis=1)
network = dt.Sequential(
    [dt.Input((x.shape[1],)), StepStamp(str(options.folder)), layers.Dense(256, activation="relu"), layers.Dense(workloads.CLASSES)]
)
compile_as_the_peers_do(network)
stop = StopOnFile(options.folder / "stop")
network.fit(x, y, batch_size=batch_size, epochs=options.epochs, shuffle=False, verbose=0, callbacks=[stop])
