"""Preprocessing that belongs in a model."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.category_encoding import CategoryEncoding
from disttrain.layers.preprocessing.discretization import Discretization
from disttrain.layers.preprocessing.normalization import Normalization
from disttrain.layers.preprocessing.rescaling import Rescaling

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "CategoryEncoding": CategoryEncoding,
    "Discretization": Discretization,
    "Normalization": Normalization,
    "Rescaling": Rescaling,
}

__all__ = ["CategoryEncoding", "Discretization", "Normalization", "Rescaling"]
