"""What every system trains: four models by name, their batch sizes, and synthetic data. Shared by the peers and by ours.

`torch_model` is the model as a person writes it in plain PyTorch; `ours/models.py` holds the same models in disttrain. Both take the same
arrays and give logits. Adam runs with its library's defaults on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """A training job.

    Args:
        shape: of one sample, channels last.
        batch_size: samples of a global batch, over all workers.
        steps: optimizer steps of one epoch; an epoch visits steps * batch_size samples once, in a new random order.
        quick_steps: the same under --quick.
    """

    shape: tuple[int, ...]
    batch_size: int
    steps: int
    quick_steps: int


WORKLOADS = {
    "cnn": Workload((28, 28, 1), batch_size=64, steps=100, quick_steps=20),
    "lstm": Workload((100, 32), batch_size=32, steps=200, quick_steps=40),
    "mlp": Workload((784,), batch_size=128, steps=400, quick_steps=100),
    "wide": Workload((784,), batch_size=64, steps=100, quick_steps=20),
}


def arrays(name: str, steps: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """x of `steps * batch_size` samples and their labels; the same in every process."""
    workload = WORKLOADS[name]
    samples = steps * workload.batch_size
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, *workload.shape), dtype=np.float32)
    return x, rng.integers(0, CLASSES, samples)


class _LastOutput(nn.Module):
    """An LSTM of which only the output after the last time step goes on."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, units, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.lstm(x)[0]
        return outputs[:, -1]


class _ChannelsFirst(nn.Module):
    """(n, h, w, c) to (n, c, h, w); with one channel no byte moves."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def torch_model(name: str) -> nn.Module:
    """The model in plain PyTorch."""
    torch.manual_seed(0)
    match name:
        case "mlp":
            return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES))
        case "wide":
            return nn.Sequential(
                nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(),
                nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, CLASSES),
            )  # fmt: skip
        case "cnn":
            return nn.Sequential(
                _ChannelsFirst(), nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Linear(128, CLASSES),
            )  # fmt: skip
        case "lstm":
            return nn.Sequential(_LastOutput(32, 128), nn.Linear(128, CLASSES))
    raise ValueError(f"torch_model({name!r}): expected one of {sorted(WORKLOADS)}.")
