"""Activation functions as layers."""

from __future__ import annotations

from disttrain.layers.activation.activation import Activation, ReLU, Softmax
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Activation": Activation,
    "ReLU": ReLU,
    "Softmax": Softmax,
}

__all__ = ["Activation", "ReLU", "Softmax"]
