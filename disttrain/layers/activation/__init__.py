"""Activation functions as layers."""

from __future__ import annotations

from disttrain.layers.activation.activation import Activation
from disttrain.layers.activation.elu import ELU
from disttrain.layers.activation.prelu import PReLU
from disttrain.layers.activation.relu import LeakyReLU, ReLU
from disttrain.layers.activation.softmax import Softmax
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Activation": Activation,
    "ELU": ELU,
    "LeakyReLU": LeakyReLU,
    "PReLU": PReLU,
    "ReLU": ReLU,
    "Softmax": Softmax,
}

__all__ = ["ELU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"]
