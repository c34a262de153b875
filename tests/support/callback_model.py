"""A stand-in for a model, as callbacks see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch


class FakeModel:
    """Has one weight, which holds the number of the epoch, and remembers what it was asked to save."""

    def __init__(self) -> None:
        self.weight = np.zeros(2, dtype=np.float32)
        self.optimizer = SimpleNamespace(learning_rate=0.1, iterations=0)
        self.stop_training = False
        self.saved: list[str] = []
        self.directions = {"loss": "down", "accuracy": "up"}

    def get_weights(self) -> list[np.ndarray]:
        return [self.weight]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weight = np.array(weights[0])

    def named_weights(self) -> list[tuple[str, torch.Tensor]]:
        return [("dense/kernel", torch.from_numpy(self.weight))]

    def metric_direction(self, name: str) -> str | None:
        return self.directions.get(name)

    def save(self, path: str) -> None:
        self.saved.append(path)

    def save_weights(self, path: str) -> None:
        self.saved.append(path)


def run_epochs(callback: Any, model: FakeModel, values: list[Any], first: int = 0, name: str = "val_loss") -> list[dict[str, Any]]:
    """Epochs in which `name` takes the values; ends early if told to. Returns the logs as the callback left them."""
    seen = []
    for epoch, value in enumerate(values, start=first):
        callback.on_epoch_begin(epoch)
        model.weight = np.full(2, epoch, dtype=np.float32)
        logs = {} if value is None else {name: value}
        callback.on_epoch_end(epoch, logs)
        seen.append(logs)
        if model.stop_training:
            break
    return seen
