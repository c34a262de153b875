"""Layers that change training only."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import Dropout

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Dropout": Dropout,
}

__all__ = ["Dropout"]
