"""Layers that make one tensor of several."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.merging.merging import Add, Concatenate, add, concatenate

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Add": Add,
    "Concatenate": Concatenate,
}

__all__ = ["Add", "Concatenate", "add", "concatenate"]
