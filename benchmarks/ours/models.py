"""The models of `workloads.py` in disttrain."""

from __future__ import annotations

from workloads import CLASSES, WORKLOADS

import disttrain as dt
from disttrain import layers


def model(name: str) -> dt.Model:
    """The model, built but not compiled; it gives logits."""
    stack = {
        "mlp": lambda: [layers.Dense(256, activation="relu")],
        "wide": lambda: [layers.Dense(2048, activation="relu") for _ in range(3)],
        "cnn": lambda: [
            layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2),
            layers.Flatten(), layers.Dense(128, activation="relu"),
        ],
        "lstm": lambda: [layers.LSTM(128)],
    }  # fmt: skip
    return dt.Sequential([dt.Input(WORKLOADS[name].shape), *stack[name](), layers.Dense(CLASSES)])


def compile_as_the_peers_do(network: dt.Model) -> None:
    """Adam with its defaults, cross-entropy on logits, no metric beside the loss."""
    network.compile(optimizer="adam", loss=dt.losses.SparseCategoricalCrossentropy(from_logits=True))
