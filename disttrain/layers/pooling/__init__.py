"""Pooling."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.pooling.pooling2d import AveragePooling2D, GlobalAveragePooling2D, MaxPooling2D

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "AveragePooling2D": AveragePooling2D,
    "GlobalAveragePooling2D": GlobalAveragePooling2D,
    "MaxPooling2D": MaxPooling2D,
}

# Keras's other names.
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
MaxPool2D = MaxPooling2D

__all__ = ["AveragePooling2D", "AvgPool2D", "GlobalAveragePooling2D", "GlobalAvgPool2D", "MaxPool2D", "MaxPooling2D"]
