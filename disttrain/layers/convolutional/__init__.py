"""Convolution."""

from __future__ import annotations

from disttrain.layers.convolutional.conv2d import Conv2D
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Conv2D": Conv2D,
}

# Keras's other names.
Convolution2D = Conv2D

__all__ = ["Conv2D", "Convolution2D"]
