"""Preprocessing that belongs in a model."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.rescaling import Rescaling

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Rescaling": Rescaling,
}

__all__ = ["Rescaling"]
