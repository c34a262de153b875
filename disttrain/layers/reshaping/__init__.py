"""Layers that move numbers without changing them."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.reshaping.reshaping import Flatten, Reshape

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Flatten": Flatten,
    "Reshape": Reshape,
}

__all__ = ["Flatten", "Reshape"]
