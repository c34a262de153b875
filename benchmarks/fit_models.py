"""What `fit.py` trains: five small models in plain PyTorch and in Keras's words, with their batch sizes and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class FitWorkload:
    """A model's data.

    Args:
        shape: of one sample, channels last.
        batch_size: samples of a batch.
        steps: optimizer steps of one measured epoch: about a second of work.
    """

    shape: tuple[int, ...]
    batch_size: int
    steps: int


WORKLOADS = {
    "mlp": FitWorkload((784,), batch_size=64, steps=600),
    "cnn": FitWorkload((28, 28, 1), batch_size=64, steps=20),
    "cnn with batch normalization": FitWorkload((28, 28, 1), batch_size=64, steps=20),
    "lstm": FitWorkload((100, 32), batch_size=32, steps=50),
    "gru": FitWorkload((100, 32), batch_size=32, steps=50),
}


def arrays(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """x and labels of one epoch; the same in every process."""
    workload = WORKLOADS[name]
    rng = np.random.default_rng(0)
    samples = workload.steps * workload.batch_size
    return rng.standard_normal((samples, *workload.shape), dtype=np.float32), rng.integers(0, CLASSES, samples)


class ChannelsFirst(nn.Module):
    """(n, h, w, c) to (n, c, h, w); with one channel no byte moves."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class LastOutput(nn.Module):
    """A recurrent module of which only the output after the last step goes on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.module(x)[0]
        return outputs[:, -1]


def torch_model(name: str) -> nn.Module:
    """The model as a person writes it in plain PyTorch; it gives logits."""
    torch.manual_seed(0)
    match name:
        case "mlp":
            return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES))
        case "cnn":
            return nn.Sequential(
                ChannelsFirst(), nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Linear(128, CLASSES),
            )  # fmt: skip
        case "cnn with batch normalization":
            return nn.Sequential(
                ChannelsFirst(), nn.Conv2d(1, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
                nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(64 * 12 * 12, CLASSES),
            )  # fmt: skip
        case "lstm":
            return nn.Sequential(LastOutput(nn.LSTM(32, 128, batch_first=True)), nn.Linear(128, CLASSES))
        case "gru":
            return nn.Sequential(LastOutput(nn.GRU(32, 128, batch_first=True)), nn.Linear(128, CLASSES))
    raise ValueError(f"torch_model({name!r}): expected one of {sorted(WORKLOADS)}.")


def keras_stack(name: str, layers: object) -> list[object]:
    """The layers after the input, from `keras.layers` or `disttrain.layers`: a Keras-like model is the same text in both."""
    L: Any = layers
    match name:
        case "mlp":
            return [L.Dense(256, activation="relu"), L.Dense(CLASSES)]
        case "cnn":
            return [
                L.Conv2D(32, 3, activation="relu"), L.Conv2D(64, 3, activation="relu"), L.MaxPooling2D(2),
                L.Flatten(), L.Dense(128, activation="relu"), L.Dense(CLASSES),
            ]  # fmt: skip
        case "cnn with batch normalization":
            return [
                L.Conv2D(32, 3, use_bias=False), L.BatchNormalization(), L.Activation("relu"),
                L.Conv2D(64, 3, use_bias=False), L.BatchNormalization(), L.Activation("relu"), L.MaxPooling2D(2),
                L.Flatten(), L.Dense(CLASSES),
            ]  # fmt: skip
        case "lstm":
            return [L.LSTM(128), L.Dense(CLASSES)]
        case "gru":
            return [L.GRU(128), L.Dense(CLASSES)]
    raise ValueError(f"keras_stack({name!r}): expected one of {sorted(WORKLOADS)}.")
